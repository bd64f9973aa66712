"""Effects of the swept settings, and of the escape from the blank plateau."""
