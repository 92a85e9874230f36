"""rbp check."""
