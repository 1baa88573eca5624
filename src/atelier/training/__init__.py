"""Training loops: one for each kind of model, each readable on one screen."""
