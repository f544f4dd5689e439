"""What the device measures of a voice: pitch, effort, pace, pauses, and how they change."""
