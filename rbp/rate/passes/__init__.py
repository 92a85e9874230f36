"""The forward passes, over all steps at once or one by one.

`rate` is Rate-based backpropagation, `bptt` the baseline. `containers` runs SpikingJelly's containers of
single steps, `autograd_functions` makes checkpoints and backward hooks work inside a pass.
"""
