"""Proof that a rewritten model is still what it was."""
