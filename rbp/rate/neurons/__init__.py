"""Spiking neurons: their scan over time and the eligibility."""
