"""`python -m waypost`: the same command line as `waypost`; the supervisor starts roles this way."""

from waypost.cli.main import main

main()
