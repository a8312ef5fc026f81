"""Sets an installation up: what `mirror init` writes and prints."""
