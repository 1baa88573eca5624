"""This machine: its processes, environment, git, addresses of files, and the stack that runs on it."""
