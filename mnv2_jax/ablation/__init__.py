"""Grids of runs: what they are, how they share programs, how they are run and recorded."""
