"""`rbp check`: is this installation right on this machine?

`command` runs the checks, each in a process of its own (`runner`) and under a time limit, and shows a line of
each finding (`finding`). The checks: `engine` (against numbers of the published code and against BPTT, with
`networks` and `golden/`), `resume`, `ranks`, `images`, and `surroundings` (what is there beside rbp).
"""
