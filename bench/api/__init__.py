"""What notebooks, scripts and the command line share: runs, their results, and the data that methods are given."""
