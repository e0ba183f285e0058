"""Structural difference of two models: matched without names, told as a person would tell it.

The way of two models through this package::

    flow       nodes without names, constants by content, bodies and functions
    labels     what a node is, at four levels of detail
    hashing    what lies before and behind every node
    matching   pairs of nodes, by decreasing certainty       (align: inside what is left)
    script     what the pairs do not explain                 (weights: how constants differ)
    hunks      changes that belong together, with a name     (naming, provenance)
    delta      the result; text, markdown: how it is shown
"""
