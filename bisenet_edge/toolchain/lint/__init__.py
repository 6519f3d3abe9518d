"""Reads a quantized ONNX graph and says what TensorRT will not run in INT8, and why."""
