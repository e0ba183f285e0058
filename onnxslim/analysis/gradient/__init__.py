"""Gradients of a model's outputs with respect to its weights, in numpy.

ONNX Runtime runs the model forward and hands over every value in between; :class:`.tape.Tape` goes
back through the nodes, with a rule per operator. An operator without a rule ends the way back: what
lies only in front of it gets no gradient, and nothing fails.
"""
