"""BiSeNet from labelled images to a camera-to-mask service in INT8, with the drop measured."""

__version__ = "0.1.0"
