"""Pictures in and out: what a model is given of a file, and what becomes of its answer.

Format, depth, transparency, colour profile and camera's data of a file are those of its result.
`picture` is the door for whoever has bytes in memory, as a service; `batch` that for files.
"""
