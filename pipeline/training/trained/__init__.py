"""What a finished run is used for: its outputs on any utterance."""
