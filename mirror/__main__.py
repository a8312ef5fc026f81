"""Lets `python -m mirror` do what `mirror` does."""

from mirror.cli import main

main()
