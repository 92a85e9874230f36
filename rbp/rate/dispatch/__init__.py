"""What a torch function or a layer does to a pair of spikes and rate."""
