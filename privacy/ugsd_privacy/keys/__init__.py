"""Keys of verifiers, of the log's owner and of the root, and the manifests that a root signs."""
