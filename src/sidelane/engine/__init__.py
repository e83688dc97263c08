"""What runs jobs: tasks and calls, handles on jobs, and the worker."""
