"""The page of a report: its template, style and script. The home of jinja2."""
