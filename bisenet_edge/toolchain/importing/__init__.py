"""Weights of public BiSeNet implementations, taken over without their code."""
