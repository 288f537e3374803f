"""Video2RMS: the RMS envelope of a video's sound, seen from its picture."""
