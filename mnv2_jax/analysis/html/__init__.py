"""The report: one HTML page with charts to point at, from records alone."""
