"""The synaptic operations of an evaluation, by layer and time step, and their energy.

Modules: `energy` (operations per image and their energy, as written to result.json), `counting` (on which
images they are counted), `counter` (watches a forward pass), `calls` (operations by layer and step),
`additions` (those of one product), `products` (which tensor of a torch function holds the spikes, and how
many products each of its values takes part in), `reach` (the same for a place in a convolution), `divisors`
(what average pooling divides by).
"""
