"""Extractors of features from frames, all with the interface `video2rms.features.base.FeatureExtractor`."""
