"""Criteria: how much a model would miss each unit of a group, from weights and statistics."""
