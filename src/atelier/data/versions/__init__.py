"""The versions of data/, as DVC and git keep them."""
