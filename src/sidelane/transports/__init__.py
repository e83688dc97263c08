"""Transports: ways that messages take between Sidelane and others, behind one contract."""
