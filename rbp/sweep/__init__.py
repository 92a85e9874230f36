"""Start, inspect and control sweeps: grids of runs with one folder each.

`launch` runs the command line of launch.py, `start` runs a sweep, `retry` starts one again from its folders,
`show` prints Hydra's help and configs, and `commands` implements `rbp status|logs|retry|cancel`. Packages:
`grid` composes the cells of a grid, `launchers` run them in this process, in other local processes or on a
Slurm cluster, and `state` determines and shows the state of every run.
"""
