"""From a source to a stored dataset: reading, validation, near duplicates, splits, notes."""
