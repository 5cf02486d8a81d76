"""Put an index back that was replaced."""
