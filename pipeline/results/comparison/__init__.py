"""The arms of a sweep compared, and the answer in sentences."""
