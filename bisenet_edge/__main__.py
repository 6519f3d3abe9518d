"""`python -m bisenet_edge` is `bisenet-edge`."""

from bisenet_edge.cli import main

main()
