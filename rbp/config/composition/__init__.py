"""From the files in conf/ and overrides to a configuration, by Hydra.

`places` knows where the files lie, `session` composes, `time_steps` lets T be any number, `overrides` writes
and checks overrides, `messages` says in our words what Hydra refused.
"""
