"""Elementary functions as arithmetic on vectors: no branches, no tables, any number of lanes."""
