"""The verbs that a person types, and their parser."""
