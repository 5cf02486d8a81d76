"""The index: its schema, and how it is written, published, opened, checked and compared."""
