"""What a terminal shows: tables, live views, lines about runs and features."""
