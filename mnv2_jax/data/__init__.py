"""Data sets, and batches of their images inside a compiled program."""
