"""A transparency log as C2SP and RFC 9162 define it; it knows nothing of captions or budgets."""
