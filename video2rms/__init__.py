"""Video2RMS: from the frames of a video to the RMS envelope of the sound that belongs to it."""
