"""What the processes of tests.support.processes begin with. Python's garbage collector passes over all that
is imported here, in each of them too.
"""

import gc

import pytest  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch._dynamo  # noqa: F401  (torch.optim imports it when the first optimizer is made)

import rbp.sweep.launch  # noqa: F401
import tests.support.training  # noqa: F401

gc.collect()
gc.freeze()
