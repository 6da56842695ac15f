"""The simulator's parts: checked tables, kinds of anomaly, whole-number draws, plans of lines, their text, files."""
