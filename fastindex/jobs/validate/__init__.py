"""Validate the names in a tree."""
