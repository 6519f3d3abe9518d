"""BiSeNet with its two backbones."""
