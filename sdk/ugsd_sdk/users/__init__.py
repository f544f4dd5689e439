"""Many users of one captioner: the models that they share, and what each of them has alone."""
