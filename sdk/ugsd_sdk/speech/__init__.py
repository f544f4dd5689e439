"""Speech in recordings: where it is, and the windows of it that an audio encoder reads."""
