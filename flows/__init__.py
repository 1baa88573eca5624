"""Prefect flows: what runs, in what order. The work itself is in `atelier`."""
