"""From the records of finished runs to verdicts, figures and a report. Imports no jax."""
