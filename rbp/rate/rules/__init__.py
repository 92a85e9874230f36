"""One rule per layer type: what it does to the spikes, and the gradient at the rate."""
