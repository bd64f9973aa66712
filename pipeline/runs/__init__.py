"""The files of a run: rows, heartbeat, hypotheses, state. Free of torch."""
