"""The decoder as a state machine, and what decides whether a block is escalated."""
