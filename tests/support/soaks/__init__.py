"""The long soak of `tests/stress/soak.py`: its APIs, databases, processes and checks."""
