"""The studio: see, hear and shape the sound of a video in a browser."""
