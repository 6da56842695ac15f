"""What planted instructions and paraphrases do to a method."""
