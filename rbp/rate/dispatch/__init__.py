"""The pair of spikes and rate, and how torch functions and layers act on it.

`pair` is the tensor subclass. A function goes through `apply`, by the tables of `tables` and `functional`; a
layer through `carry`. `call` holds the arguments, `join` the results, `rates` those of segments; `in_place`
handles changes in place, `custom` autograd functions of the user's, `time_axis` and `seen_time` networks that
see the time axis.
"""

from rbp.rate.dispatch import apply  # noqa: F401 (pairs go through it)
