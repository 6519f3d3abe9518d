"""Torch-TensorRT, the second compiler: from the torch network to a plan, on the machine that runs it."""
