"""The demo corpus, synthesised by espeak-ng."""
