"""A sweep: its record, ledger, status, plan, retries and report."""
