"""Fetch one complete list from the upstream API and decode it."""
