"""Least-squares repair of linear layers, on plain arrays."""
