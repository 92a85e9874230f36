"""The configuration of a run: its keys, what each may be, and which run it stands for.

`schema` declares every key once (`launchers` those of hydra.launcher and hydra.sweeper), in terms of `key`
and `allowed`. The rest reads the schema: `validate` and `across` check a configuration, `identity` names its
run, `versions` reads configurations of earlier versions, `reference` lists the keys for people.
The values are in conf/*.yaml.
"""
