"""Run the cells of a sweep: in this process, in other processes of this machine, or on a Slurm cluster.

`launcher` defines the interface, `make` creates a launcher by name, and `inline`, `local` and `slurm`
implement it. `submit` is shared by the launchers whose jobs outlive this process. `pool` runs local jobs,
`worker` is what a job executes, `snapshot` copies the code for jobs, and `crew` shares the work among ranks
that torchrun has started.
"""
