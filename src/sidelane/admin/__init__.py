"""What operators see and do: documents, dead letters, the workers that can run a job. The CLI and the dashboard show it."""
