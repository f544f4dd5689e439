"""Safe output: foreign text cannot control a terminal, and standard output has only our text."""
