"""One file per interpretation: reverse, forward, batch, linearize and transpose, and what derives from them."""
