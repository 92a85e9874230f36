"""Spiking networks of our own, which rbp trains. Modules: `nets` (the networks)."""
