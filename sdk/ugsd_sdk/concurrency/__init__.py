"""Threads, forks and waiting: nothing here knows of captions or verifiers."""
