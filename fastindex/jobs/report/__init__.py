"""Show an index as one HTML file."""
