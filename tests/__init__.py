"""Tests: a room for each layer of the package, a file for each module.

`support` is what they share. `faults` has the promises, which cross the layers; beside this file is what
concerns the house.
"""
