"""Spiking neurons: their dynamics over time, and the eligibility that is their gradient in rate mode."""
