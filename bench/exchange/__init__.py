"""Sequences for programs in any language, and the scores that come back from them."""
