"""How a network is run: over all steps at once or one by one, by BPTT or in one pass over rates."""
