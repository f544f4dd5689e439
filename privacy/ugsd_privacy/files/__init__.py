"""Files that are written whole or not at all, key files, and locks beside files."""
