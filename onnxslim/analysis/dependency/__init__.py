"""The dimension dependency graph: which coordinates of which axes must be removed together."""
