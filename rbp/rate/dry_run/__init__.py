"""Dry runs of a network: what a forward pass would do, and whether its steps compute the same.

`ghost` is the copy that is run, `outside` the state that its code keeps elsewhere. `expressions` numbers what
is computed, `looks` and `loops` note reads and repeated steps, `state_between_steps` compares the steps.
"""
