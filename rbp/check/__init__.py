"""`rbp check`: tests whether this installation works correctly on this machine.

`command` runs the checks, each in a process of its own with a time limit (`runner`), and prints a line for
each result (`finding`). The checks: `engine` (gradients against numbers of the published code and against
BPTT, with `networks` and the folder `golden`), `resume` (a killed run resumes bit for bit), `ranks` (several
processes train one network), `images` (augmentation on the device), and `surroundings` (compiler, Slurm,
wandb, data sets).
"""
