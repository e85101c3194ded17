"""Prepared data sets on disk: found by name, and read by record."""
