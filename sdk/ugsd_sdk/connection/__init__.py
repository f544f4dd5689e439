"""The connection to a verifier: endpoints, trust, sessions and their renewal."""
