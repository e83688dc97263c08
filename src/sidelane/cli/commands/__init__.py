"""The commands of `sidelane`, one module a command group."""
