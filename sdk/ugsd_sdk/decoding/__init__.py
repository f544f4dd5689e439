"""The decoder as a state machine, and the policies that decide which blocks are escalated."""
