"""Start, inspect and control sweeps: grids of runs with one folder each.

`launch` runs the command line of launch.py, `start` runs a sweep, `retry` starts one again from its folders,
and `show` prints Hydra's help and configs. Packages: `grid` composes the cells of a grid, `preflight` checks
them, `launchers` run them in this process, in other local processes or on a Slurm cluster, `slurm` submits
jobs to one, and `state` determines and shows the state of every run.
"""
