"""The primitives: declarations only, one for each operation."""
