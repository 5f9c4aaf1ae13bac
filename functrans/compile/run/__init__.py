"""Compiled programs: calling them, looking into them, saving and loading them."""
