"""What `python -m experiments.bench` times: a module per group, and what they have in common."""
