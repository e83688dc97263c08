"""Transports, which carry messages between Sidelane and other programs, with one contract."""
