"""Pages of the dashboard: a module for each, with its routes, what it reads and its actions."""
