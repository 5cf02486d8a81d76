"""Change the names in a tree to those that `validate` finds nearest: as a script, or at once."""
