"""Build an index."""
