"""What an evaluation finds out beside the accuracy: how it grows with t, and what the network computes.

Modules: `over_time` (accuracy after t steps), `energy` (operations per image and their energy, as written to
result.json), `counting` (on which images they are counted), `counter` (watches a forward pass), `calls`
(operations by layer and step), `operations` (those of one product), `products` (which tensor of a torch
function holds the spikes, and how many products each of its values takes part in), `reach` (the same for a
place in a convolution), `divisors` (what average pooling divides by).
"""
