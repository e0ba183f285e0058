"""The passes: one file each, imported as onnxslim.passes and found by the registry."""
