"""Fetch the list, compare it with the mirror and apply the difference."""
