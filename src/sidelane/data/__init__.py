"""What jobs work on that is too large to stand in their arguments."""
