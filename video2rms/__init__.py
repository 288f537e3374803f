"""Video2RMS: predicts the RMS envelope of a sound from the frames of its video."""
