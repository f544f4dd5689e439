"""What device and verifier say to each other, and the end-to-end session that seals it."""
