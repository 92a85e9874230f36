"""`python -m rbp`: the command rbp, where no script of that name is on the path."""

import sys

from rbp.cli import main

if __name__ == "__main__":
    sys.exit(main())
