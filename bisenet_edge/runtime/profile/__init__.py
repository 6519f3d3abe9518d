"""What a frame costs, and whether INT8 pays. Begin at `profiler`, or at `artifacts` with artifacts."""
