"""Compose configurations with Hydra from the files in conf/ and command-line overrides.

`places` locates conf/ and sweeps/ and lists what is in them. `session` sets Hydra up and composes.
`time_steps` lets T be any whole number. `overrides` writes and checks overrides. `messages` turns errors of
Hydra and OmegaConf into readable messages.
"""
