"""A mock of the upstream API; it imports nothing of the rest."""
