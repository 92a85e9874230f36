"""One optimizer step on a batch.

Modules: `training_step` (forward, backward and update, in parts where memory is short), `loss` (what is
minimised), `mixup` (mixing images and labels in pairs), `share` (a rank's images of the batch).
"""
