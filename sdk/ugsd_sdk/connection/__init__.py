"""The session with a verifier: how it is dialled, trusted, kept and replaced."""
