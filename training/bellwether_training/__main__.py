"""`python -m bellwether_training`."""

from .cli import main

main()
