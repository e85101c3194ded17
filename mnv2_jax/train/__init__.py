"""Training many lanes of one network in one compiled program."""
