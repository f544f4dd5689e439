"""``ugsd-lab bench``: what a caption costs on this machine, and what the door does."""
