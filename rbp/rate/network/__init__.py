"""The user's network: what it is made of, and leaving it as it was."""
