"""The verbs that use what was trained."""
