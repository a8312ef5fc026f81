"""Phone numbers: read as people write them, and found in every notation."""
