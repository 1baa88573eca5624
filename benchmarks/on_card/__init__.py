"""What `benchmarks/gpu.py` tries on a card, one file a subject."""
