"""(scores, labels) -> numbers; pure functions."""
