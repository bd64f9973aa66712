"""What was made of finished runs: decodings and alignments, as a report shows them."""
