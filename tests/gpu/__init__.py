"""The day on a GPU, rehearsed on a CPU."""
