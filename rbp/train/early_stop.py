"""Ending a run once the accuracy on the validation images has stopped rising (`trainer.early_stop`)."""

from omegaconf import DictConfig

from rbp.train.resume.history import History


def stops_early(cfg: DictConfig, history: History) -> bool:
    """Whether a run ends before its last epoch.

    It does after `trainer.early_stop` epochs in a row of which none has a higher `val_acc` than the best
    epoch before. That depends on the history alone, so a resumed run stops at the same epoch.
    """
    patience = cfg.trainer.early_stop
    if patience is None or not history.best or history.epochs >= cfg.trainer.epochs:
        return False
    return history.epochs - history.best["epoch"] >= patience


def why_stopped(history: History) -> str:
    """Return a line for the log of a run that stopped early."""
    best = history.best
    return (
        f"stops early after epoch {history.epochs}: none since epoch {best['epoch']} had a better val acc "
        f"than its {100 * best['val_acc']:.2f}%"
    )
