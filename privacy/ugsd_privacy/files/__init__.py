"""Atomic files, key files, file locks, and checks of who owns a file."""
