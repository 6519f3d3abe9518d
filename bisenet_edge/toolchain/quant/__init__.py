"""INT8: batch-norm folding, Q/DQ placement, fake quantization and calibration."""
