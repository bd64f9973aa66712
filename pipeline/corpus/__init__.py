"""Audio and transcripts on disk -> a manifest of utterances."""
