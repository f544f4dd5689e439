"""Networks, the audio encoder, what is computed with them once, and their export."""
