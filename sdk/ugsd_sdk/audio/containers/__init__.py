"""Containers of encoded audio, read far enough to know that a recording is whole."""
