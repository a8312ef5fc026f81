"""The checks of `mirror doctor`."""
