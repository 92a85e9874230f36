"""What a user can put right: the launcher prints these as one message, without a stack trace."""


class UserError(Exception):
    """Names the key or file, its value, what is allowed and what to do."""


class ConfigError(UserError):
    """A configuration that cannot be run; raised before anything is written."""


class FolderBusy(ConfigError):
    """Another process works in the run's folder, which is left as it is."""


class DataError(UserError):
    """A data set that is missing, truncated or wrong."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used for this run."""


class TrainingError(UserError):
    """Training cannot go on: the loss is no number, the disk is full."""


class SweepFailed(UserError):
    """Cells of a sweep failed or were lost; the others' results are there."""


class Preempted(Exception):
    """No failure: a run was asked to stop, saved everything, and goes on when it is started again."""
