"""What left, how often, under which budget, and whether the log of it stands: for people to read.

``model.py`` is what a report says, ``gather.py`` reads it out of a ledger; the other files write it.
"""
