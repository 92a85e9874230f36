"""Train one spiking neural network or a grid of them; see `python launch.py --help`."""

import sys

from rbp.sweep.launch import main

if __name__ == "__main__":
    sys.exit(main())
