"""Benchmarks of `python -m experiments.bench`: a module per group, and what they share."""
