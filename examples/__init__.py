"""Complete services built on Sidelane, each run by the tests."""
