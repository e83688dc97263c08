"""Complete services built on Sidelane; the tests run each of them."""
