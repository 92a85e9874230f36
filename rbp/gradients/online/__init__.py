"""The online modes, which differentiate each time step before the next one runs.

Each step's loss, over T, is differentiated by itself. The state that a step inherits (membrane potentials,
whatever else the network keeps) is cut from the graph, so that memory is one step's at any T.

- SLTT (Meng et al., ICCV 2023): nothing else. With K of T steps drawn per batch it is SLTT-K.
- OTTT_A (Xiao et al., NeurIPS 2022): convolution and linear layers take their weight gradient at the trace of
  their input, a_t = leak * a_{t-1} + s_t, instead of at the spikes s_t. Traces are kept by the neurons that
  give the spikes, with their own leak, as in the authors' code. In theory it is the leak of the neurons that
  read them; the two are the same where all leaks are equal. A layer that no neuron feeds, as the first, has
  its input itself. The authors' networks have scaled weight standardisation (rbp.models.standardised) in
  place of batch normalisation; with the latter, which sees its input once, this is "OTTT with BN".

Modules: `steps` (the loop), `drawing` (which steps are differentiated), `cut` (the state between steps),
`traces` (kept by neurons), `leaks` (of neurons), `traced` (spikes with a trace), `functions` (what torch's
functions do to a trace), `weighted` (convolution and linear layers).
"""

from rbp.gradients.online.drawing import choice
from rbp.gradients.online.steps import run

ONLINE = ("sltt", "ottt")

__all__ = ["ONLINE", "choice", "run"]
