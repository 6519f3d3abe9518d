"""What needs torch: the network, training, quantization and export."""
