"""Turn a command line and a sweep file into the frozen config of every cell of a grid.

`command_line` parses the arguments of launch.py, and `sweepfile` reads named grids from sweeps/.
`combinations` lists the points of a grid, `composer` composes a config for each point, and `compose` does
both and checks the resulting cells (`cell`). `config_tree` prints a config as a tree. `help_text` supplies
the lists of `--help`, and `slurm_values` reads what Slurm writes otherwise than YAML.
"""
