"""Files for other programs that run a service, e.g. nginx: made from its description, for people to commit and change."""
