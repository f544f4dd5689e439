"""A transparency log as defined by C2SP and RFC 9162, independent of what is logged."""
