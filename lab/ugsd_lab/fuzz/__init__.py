"""Hostile frames: what the decoders of both sides do with bytes that an attacker chose."""
