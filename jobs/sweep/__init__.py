"""What a sweep wants, has and lacks: record, ledger, status, plan, retries, report."""
