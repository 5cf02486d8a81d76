"""Example trees to try everything on."""
