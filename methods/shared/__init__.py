"""What methods share: training, layers, losses, vectors of texts."""
