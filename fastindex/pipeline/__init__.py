"""How a tree is indexed: discover -> shard -> scan -> collect -> publish; `build` knows the order."""
