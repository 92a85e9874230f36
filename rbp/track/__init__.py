"""Dashboards beside the run folder: fed from its files by a process of their own, never the other way."""

from rbp.track.start import TrackerProcess as TrackerProcess
