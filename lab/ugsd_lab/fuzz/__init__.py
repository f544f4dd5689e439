"""Hostile inputs for the decoders of both sides."""
