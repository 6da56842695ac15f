"""What papers report, whether it can be true, and ours beside it."""
