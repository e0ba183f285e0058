"""Optimize the model that ships with the package, then check it on labelled images."""

from __future__ import annotations

import onnxslim
from onnxslim import demo

model = onnxslim.load(demo.model_path())
result = onnxslim.optimize(model)  # the default recipe: lossless, verified before it returns
print(
    f"nodes: {result.before.nodes} -> {result.after.nodes}, verified: {result.verification.level}"
)

onnxslim.save(result.model, "slim.onnx")
report = onnxslim.validate(model, "slim.onnx", data=demo.labelled_path(), labels="y")
print(f"accuracy: {report.score.reference} -> {report.score.candidate} points")
