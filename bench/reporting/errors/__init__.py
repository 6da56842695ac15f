"""Looking inside a record: what it got wrong, with the lines behind it, and its predictions and split as files."""
