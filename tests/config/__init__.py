"""What a configuration is, and which run it stands for."""
