"""Exceptions for problems that a user can fix; the command line prints them without a stack trace."""


class UserError(Exception):
    """A problem that the user can fix.

    The message names the key or file, its value, what is allowed and what to do.
    """


class ConfigError(UserError):
    """A configuration that cannot be run; it is raised before anything is written."""


class FolderBusy(ConfigError):
    """A run folder that another process is working in; the folder is left unchanged."""


class DataError(UserError):
    """A data set that is missing, truncated or invalid."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used for this run."""


class TrainingError(UserError):
    """A reason why training cannot continue, such as a loss of NaN or a full disk."""


class SweepFailed(UserError):
    """A sweep of which some cells failed, were lost or did not finish; the other cells keep their results."""


class Preempted(Exception):
    """A stop on request, not a failure: the run has saved everything and continues when started again."""
