"""Make the pictures: python -m docs.pictures [NAME ...]."""

import importlib
import sys

NAMES = ("method", "costs", "dial", "terminal", "report")

if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        importlib.import_module(f"docs.pictures.{name}").make()
        print(f"docs/pictures/{name}-*", flush=True)
