"""What a home's log, budget and settings say, for people to read."""
