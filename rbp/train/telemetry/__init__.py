"""What is measured and shown of a run while it trains: costs, memory, progress, its record on disk."""
