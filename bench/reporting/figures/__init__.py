"""Records -> figures; a kind of figure gathers and draws in one file."""
