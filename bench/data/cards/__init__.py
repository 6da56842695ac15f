"""What is declared: cards of editions, where they are found, and what was fetched for them."""
