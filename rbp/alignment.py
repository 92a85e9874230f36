"""What the comparison of gradients, the file that it is written to, and its command agree on.

It needs no torch, so that commands that read runs start fast.
"""

ALL = "all"  # stands among the layers for all of them together
FEWEST = 8  # batches
