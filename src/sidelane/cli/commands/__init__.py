"""The commands of `sidelane`, one module per command or group."""
