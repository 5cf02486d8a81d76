"""The version of the program: in the tables, on the command line, and in the package."""

__version__ = '0.1.0'
