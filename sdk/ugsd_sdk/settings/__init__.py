"""Settings from files, the environment and Python."""
