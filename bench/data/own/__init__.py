"""Logs of one's own: what `bench data new` guesses, and the cards it writes."""
