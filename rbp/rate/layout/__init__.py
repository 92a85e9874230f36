"""What a network sees of time, and what it returns."""
