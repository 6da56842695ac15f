"""Pages of the documentation that are made from records, and the numbers between that are checked against them."""
