"""Which errors the runs make."""
