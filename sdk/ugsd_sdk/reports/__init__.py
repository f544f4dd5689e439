"""Reports on a home's log, budget and settings, for people to read."""
