"""Preparation of frames: made once from the recordings, on all cores, resumable, and verified when opened.

`prepare` runs the preparation of an event data set. `sources` describes its recordings and detects changes,
`shards` makes the frames in pieces, and `joining` joins the pieces. `manifest` describes and opens the
prepared files.
"""
