"""Read an index: open it, search it, sum it up."""
