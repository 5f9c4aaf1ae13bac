"""Array types, primitives, traces, tracers and programs: what ops and transforms are written against."""
