"""The language-model service: any method may ask, it knows no method."""
