"""What a run leaves behind: the record's shape and where records are kept."""
