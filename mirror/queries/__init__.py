"""Read the mirror: query helpers and the status of its environments."""
