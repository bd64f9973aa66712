"""The verbs that check something before hours are spent on it."""
