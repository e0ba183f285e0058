"""A pass and a criterion for onnxslim, in a distribution of their own."""
