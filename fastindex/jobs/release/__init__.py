"""Release a tree: plan, tables, pack, archive, in this order; `release` knows it."""
