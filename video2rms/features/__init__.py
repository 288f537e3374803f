"""What is seen in frames, as numbers: extractors of features, all behind `video2rms.features.base.FeatureExtractor`."""
