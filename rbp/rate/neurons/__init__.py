"""Spiking neurons: their dynamics over time, and the eligibility that is their gradient in rate mode.

`eligibility` defines the gradient. `integrate_and_fire` with `scan` covers IF, LIF and PLIF neurons,
`elementwise` all others that treat each element by itself; `segments` and `segmented` do so for segments of
time. `supported` lists which of SpikingJelly's neurons train, `surrogates` their derivatives, `memories` and
`hidden_state` read and guard what they keep, `compiled` fuses the scan into kernels.
"""
