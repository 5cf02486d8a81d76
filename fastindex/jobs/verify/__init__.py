"""Verify that the data is what the index says."""
