"""What methods share: training, layers, losses, vectors of texts.

docs/pytorch.md says which names a method of another author may count on.
"""
