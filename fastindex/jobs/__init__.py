"""What each command does, a folder each: all that needs no command line."""
