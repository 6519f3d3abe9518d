"""Camera to mask: capture, inference and output at the same time. Begin at `run`; `launch` takes URIs."""
