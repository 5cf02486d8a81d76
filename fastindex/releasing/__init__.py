"""How a release is made, one file a step, in this order: plan, tables, pack, archive, release."""
