"""One rule per layer type: how it transforms the spikes, and its gradient at the rate.

`base` shows how to write a rule. `weighted` (convolutions, linear layers), `commuting`, `batchnorm`, `norms`,
`pooling`, `window_pooling` and `dropout` hold the rules; `sync_batchnorm`, `segmented_norm` and
`running_statistics` are parts of batch normalisation.
"""
