"""What keys are called in other tools, such as PyTorch Lightning's and timm's, for hints on unknown keys."""

_NAMES = {
    "arch": ("model", "net", "network", "architecture", "backbone", "module", "encoder"),
    "dataset": ("data", "datamodule", "data_module", "dataloader", "task"),
    "dataset.root": ("data_dir", "data_path", "data_root", "root"),
    "dataset.val_split": ("val_ratio", "validation_split"),
    "neuron": ("node", "spiking_neuron", "cell"),
    "neuron.surrogate": ("surrogate", "surrogate_function"),
    "grad_mode": ("method", "algorithm", "training_mode", "mode"),
    "T": ("time_steps", "timesteps", "time_step", "steps", "num_steps", "n_steps"),
    "optimizer": ("optim", "opt"),
    "optimizer.lr": ("learning_rate",),
    "optimizer.schedule": ("scheduler", "lr_scheduler", "sched"),
    "optimizer.warmup_epochs": ("warmup",),
    "loss": ("criterion", "loss_fn", "objective"),
    "trainer.epochs": ("max_epochs", "num_epochs", "n_epochs"),
    "trainer.batch_size": ("train_batch_size", "bs"),
    "trainer.device": ("devices", "gpu", "gpus", "accelerator", "cuda"),
    "trainer.precision": ("amp", "fp16", "mixed_precision"),
    "trainer.threads": ("num_workers", "workers"),
    "trainer": ("training", "callbacks"),
    "tracker": ("logger", "loggers", "logging", "wandb", "tensorboard", "dashboard"),
    "seed": ("random_seed", "manual_seed"),
    "runs_dir": ("output_dir", "out_dir", "save_dir", "log_dir", "work_dir", "exp_dir", "results_dir"),
    "sweeps": ("experiment", "exp", "config", "recipe"),
}
_OURS = {theirs: ours for ours, names in _NAMES.items() for theirs in names}
_CHECKPOINTS = (
    "ckpt_path",
    "ckpt",
    "resume",
    "resume_from",
    "resume_from_checkpoint",
    "pretrained",
    "weights",
)


def hint(key: str) -> str:
    """Return what an unknown key is called here, as the end of a message; "" if nothing is known of it."""
    first, _, rest = key.partition(".")
    if first in _CHECKPOINTS:
        return (
            "a run goes on from its own last checkpoint when it is started again; to evaluate a file, "
            "eval_only=true checkpoint=PATH"
        )
    if (ours := _OURS.get(first)) is None:
        ours, rest = _OURS.get(key.rpartition(".")[2], ""), ""
    return f"here it is {ours}{'.' + rest if rest else ''}" if ours else ""
