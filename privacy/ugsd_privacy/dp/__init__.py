"""Differential privacy: the Gaussian mechanism, its exact sampler and its accounting."""
