"""`rbp bench`: time and memory of a training step by gradient mode and number of time steps.

Modules: `run` (the benchmark as a whole), `arguments` (its command line), `contestants` (the networks that
are compared), `spikingjelly_nets` (BPTT with SpikingJelly's own layers), `step` (one training step),
`measure` (measuring a table's contestants), `timing` (clocks), `limits` (lower bounds of a step's time),
`profiling` (longest kernels), `machine` (GPU clock), `figure` (the plot), `reading_speed`
(images read a second, of `rbp data speed`).
"""

from rbp.bench.run import bench

__all__ = ["bench"]
