"""The configuration of a run: its keys, their allowed values, and the identity of the run.

`schema` declares every key of a run once, and `launchers` those of hydra.launcher and hydra.sweeper; both use
`key` (how to declare a key) and `allowed` (what a value may be). The other modules read these declarations:
`validate` checks a configuration key by key and `across` checks rules between keys, `identity` computes a
run's hash and folder, `versions` reads configurations of earlier versions, `reference` generates the key
lists for `--help` and docs/config.md. `dotted` accesses nested values by dotted keys, `text` formats values
and durations, `other_names` knows what keys are called in other tools. The package `composition` builds
configurations with Hydra. The values are in conf/*.yaml.
"""
