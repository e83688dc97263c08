"""Operating a service: its description, its programs, and the supervisor that runs them."""
