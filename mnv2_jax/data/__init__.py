"""Where images come from, and how batches are drawn from them inside a compiled program."""
