"""What the rows of a run say of its settings, its input and its transcripts."""
