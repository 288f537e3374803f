"""Reading and writing of video and sound, envelopes, loudness; only this package uses PyAV, decord and soundfile."""
