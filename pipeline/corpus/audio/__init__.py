"""Audio files: headers, decoding in blocks, resampling."""
