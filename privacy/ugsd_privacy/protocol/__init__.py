"""The messages between device and verifier, and the end-to-end session that seals them."""
