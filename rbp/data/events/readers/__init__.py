"""Readers of the formats that recordings come in."""
