"""Elementary functions as arithmetic on vectors: no branches, no tables, any number of lanes.

Polynomials are those of least relative error, found by Remez's method in 160 bits, whose coefficients were rounded one after
another; where one is from elsewhere, its file says so.
"""
