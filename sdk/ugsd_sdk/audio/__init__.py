"""Audio files, bytes and arrays, read into samples."""
