"""Corpora, measured prosody, reference captions and augmentation."""
