"""Submit jobs to a Slurm cluster, cancel them, and say why one was refused.

`sbatch` submits and cancels with submitit, `refusals` explains what Slurm answers, `job_start` is the command
by which a job starts Python, and `last_words` finds the last line that a job has printed.
"""
