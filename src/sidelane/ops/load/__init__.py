"""Load: requests to a running service, as many as a plan says, and how quickly the service answered them."""
