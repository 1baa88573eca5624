"""This machine: its processes, environment, git, places of files, and the stack it runs."""
