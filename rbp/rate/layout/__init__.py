"""How a network handles the time axis, in its input and in its output."""
