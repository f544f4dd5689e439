"""``ugsd-lab bench``: measures the cost of captions, of the egress and of the log."""
