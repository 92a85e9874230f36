"""The pictures of README and the site, each made by a module here, for a light and for a dark ground.

`python -m docs.pictures [NAME ...]` makes them anew: `method` (a drawing), `costs` and `dial` (numbers that
stand in docs/costs.md and results/dial), `terminal` and `report` (a small sweep is run, and recorded).
`schemes` writes a picture for both grounds.
"""
