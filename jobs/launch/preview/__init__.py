"""What DRY=1 shows before anything is submitted: jobs, cost, limits, starts, batch scripts."""
