"""Flax linen modules for the networks that `mnv2_jax.arch` describes, and their cost."""
