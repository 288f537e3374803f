"""Video and sound in and out, envelopes and loudness; the only package that touches PyAV, decord and soundfile."""
