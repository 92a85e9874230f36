"""Recordings of event cameras: what they are, and how they become frames."""
