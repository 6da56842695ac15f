"""Records -> what people read; no metric is computed here."""
