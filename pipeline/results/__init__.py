"""Run folders -> tables, comparisons, the report. The home of pandas."""
