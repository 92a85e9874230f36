"""The user's network: its modules, the state that its own code keeps, and temporary changes to it.

`modules` indexes the modules; `owners`, `own_state` and `settings` know what the user's own code keeps in
attributes; `weights` handles weights that are computed when they are read; `overrides` tells which methods of
a neuron a subclass replaces; `patching` replaces forwards and step modes for the time of a pass.
"""
