"""Audio in any usual form, read into samples."""
