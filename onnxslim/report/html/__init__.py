"""One self-contained HTML file for any command's result: opens offline, prints, has a graph.

The way of a result through this package::

    sections   tables, bars and verdicts from a JSON document   (cells: what they are made of)
    drawing    boxes and edges of one model, or of two merged by their difference
    layout     where boxes go, layer by layer; done here, so that 6,000 of them open at once
    page       template, style, script and data put together, under a strict content policy
"""
