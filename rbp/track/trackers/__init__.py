"""The trackers that the follower feeds, each an implementation of `rbp.track.follow.TrackerRun`.

Modules: `wandb_run` and `tensorboard_run` (the trackers), `hparams` (what TensorBoard's page of
hyperparameters shows of a run), `commits` (the git commits that both show), `best_checkpoint` (the best
weights as an artifact in wandb).
"""
