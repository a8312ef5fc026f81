"""Where settings come from and what they are checked against."""
