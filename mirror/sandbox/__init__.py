"""A mock of the API; it imports no other part of mirror."""
