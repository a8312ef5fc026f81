"""Settings: where they come from, which source wins, and what values are valid."""
