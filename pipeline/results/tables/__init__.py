"""The tables of a report as files: CSV, Parquet, Markdown, LaTeX, and what their columns are."""
