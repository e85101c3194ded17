"""Prepared data sets as they lie on disk: found, and read by record."""
