"""Sound files: headers, decoding in blocks, resampling."""
