"""`python -m atelier.cli`."""

from atelier.cli import main

main()
