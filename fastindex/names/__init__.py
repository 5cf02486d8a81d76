"""What a name means, and what is wrong with it: pure, no input, no output."""
