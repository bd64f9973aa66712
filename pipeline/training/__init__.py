"""Shards -> a finished run folder. The home of torch."""
