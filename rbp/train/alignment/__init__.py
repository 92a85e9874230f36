"""How far the gradients of other modes are from BPTT's, of a run's network on its own training batches.

Modules: `modes` (which modes are compared), `of_run` (a measurement at the weights that a network has),
`course` (when a run measures), `checkpoint` (a measurement of a run's checkpoint).
"""
