"""Streams of sound: speech found as it comes, and captioned."""
