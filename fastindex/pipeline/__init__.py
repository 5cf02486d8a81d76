"""The stages of a scan and nothing else: discover -> shard -> scan -> collect."""
