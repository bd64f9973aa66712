"""Log-probabilities -> text, and the score of a text. NumPy; free of torch."""
