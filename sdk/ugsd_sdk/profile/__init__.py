"""What the device knows of its users' voices; it never leaves the device."""
