"""Work handed out to others, and messages of others turned into jobs."""
