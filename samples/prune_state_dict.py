"""Prune a model, then cut the weights of its framework checkpoint in the same way.

The result of ``prune`` says which indices of which axis of every weight stay. A PyTorch module
that was built with the smaller widths loads what :func:`slice_state_dict` gives, and can be
trained on. Here the checkpoint is made from the model itself, so that PyTorch is not needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import onnxslim
from onnxslim import demo


def slice_state_dict(state: dict[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint of arrays with only what stays; of tensors, ``.numpy()`` makes arrays."""
    kept = {
        (name, int(axis)): index
        for group in groups
        for name, axes in group["kept"].items()
        for axis, index in axes.items()
    }
    found = dict(state)
    for (name, axis), index in sorted(kept.items()):
        if name not in found:
            print(f"not in the checkpoint, cut it by hand: {name} axis {axis}")
        elif isinstance(index[0], list):  # a grouped convolution: other channels in every block
            blocks = np.split(found[name], len(index))
            pairs = zip(blocks, index, strict=True)
            found[name] = np.concatenate([block.take(own, axis) for block, own in pairs])
        else:
            found[name] = found[name].take(index, axis)
    return found


model = onnxslim.load(demo.model_path())
weights = model.graph.initializers
state = {name: value.const_value.numpy() for name, value in weights.items() if value.const_value}
for node in model.graph:  # the exporter merged equal parameters; a checkpoint has both
    source = node.inputs[0]
    if node.op_type == "Identity" and source is not None and source.name in state:
        state[str(node.outputs[0].name)] = state[source.name]

result = onnxslim.prune(model, ratio=0.5, dry_run=True)  # only decides and cuts
print(result.headline)

smaller = slice_state_dict(state, result.groups)
for name, value in result.model.graph.initializers.items():
    if name in smaller and value.const_value is not None:
        assert (smaller[name] == value.const_value.numpy()).all(), name
before, after = (sum(a.size for a in s.values()) for s in (state, smaller))
print(f"checkpoint: {before} -> {after} numbers, the same as in the pruned model")
