"""Copies of the archive, taken and brought back."""
