"""Reports for people: what was sent, how often, under which budget, and whether its log verifies.

``model.py`` defines a report, ``build.py`` builds it from a ledger's rows, ``fleet.py`` merges
those of many devices, ``markdown.py`` and ``html.py`` write it.
"""
