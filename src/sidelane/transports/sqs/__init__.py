"""Amazon SQS, and what speaks like it."""
