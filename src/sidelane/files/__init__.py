"""Files that jobs work on: storage, references, signed URLs."""
