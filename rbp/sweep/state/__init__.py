"""Determine the state of a sweep's runs from their folders and jobs, and show it.

`jobs` queries Slurm and local processes. `states` combines run folders and jobs into one state per run.
`plan` decides which cells a start runs, `price` what they cost. `sweepfolder` holds a sweep's own files.
`table` prints the table of results, `failures` the reasons of what failed, and `watch` shows progress while
jobs work.
"""
