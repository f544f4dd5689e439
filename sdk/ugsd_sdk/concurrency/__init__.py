"""Threads, copied errors and waiting times, independent of captions and verifiers."""
