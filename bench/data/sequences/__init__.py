"""A `Log` -> the training, validation and test sequences of a cell."""
