"""ONNX Runtime in a child process, and the data fed to it."""
