"""Atelier: a model factory for image generation and image restoration."""

__version__ = "0.1.0"
