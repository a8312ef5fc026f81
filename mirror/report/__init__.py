"""The report: one HTML page with key figures, charts and tables."""
