"""What left, how often, under which budget, and whether the log of it stands: for people to read.

``model.py`` is what a report says, ``gather.py`` makes it from a ledger's rows, ``fleet.py`` puts
many together, ``markdown.py`` and ``html.py`` write it.
"""
