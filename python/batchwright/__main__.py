"""Runs the command line as `python -m batchwright`."""

from batchwright.cli.main import main

if __name__ == "__main__":
    main()
