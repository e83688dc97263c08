"""Amazon SQS, and servers with the same API."""
