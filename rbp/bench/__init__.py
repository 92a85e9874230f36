"""`rbp bench`: what a training step costs in time and memory, by gradient mode and number of time steps."""

from rbp.bench.run import bench

__all__ = ["bench"]
