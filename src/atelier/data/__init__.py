"""Data: sources -> validation -> splits -> shards and manifest -> DVC version."""
