"""Where the cells of a sweep run: in this process, in others of this machine, on a Slurm cluster."""
