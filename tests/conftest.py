"""For all tests: threads that sleep rather than spin while they wait, as launch.py sets it."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # before anything loads torch
