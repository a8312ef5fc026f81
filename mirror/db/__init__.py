"""The schema of the mirror and access to it."""
