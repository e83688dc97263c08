"""What tests of Sidelane, of its stores and of its users stand on."""
