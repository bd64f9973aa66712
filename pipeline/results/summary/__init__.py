"""What each run of a sweep left, as lines of tables."""
