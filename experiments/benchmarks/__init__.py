"""Benchmarks of `python -m experiments.bench`: a module per group, and their shared code."""
