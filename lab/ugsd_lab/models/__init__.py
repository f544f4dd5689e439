"""Networks, the audio encoder, precomputed audio embeddings, and export."""
