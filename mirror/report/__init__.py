"""The report: one HTML page for people who would rather look than ask."""
