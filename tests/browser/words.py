"""The report's user, times and captions."""

USER = "<img src=x onerror=alert(1)>"
NOW_S = 1_767_000_000
DAY_S = 86_400
SENTENCES = ("A woman sounds happy", "A man sounds <b>angry</b>", "A speaker sounds calm & slow")
PIECES = ["", *(f" {word}" for sentence in SENTENCES for word in sentence.split())]
