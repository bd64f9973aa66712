"""The figures of a report, as SVG. The home of matplotlib."""
