"""The beginning of a project: a look at the pictures, and a folder in which `atelier run` works."""
