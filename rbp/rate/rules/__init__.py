"""One rule per layer type: how it transforms the spikes, and its gradient at the rate."""
