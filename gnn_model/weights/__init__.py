"""Trained weights: one safetensors file per model beside its card in JSON."""
