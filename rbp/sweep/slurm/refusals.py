"""Explain why Slurm refused jobs: its own words, and which setting to change."""

import re

from rbp.config.launchers import SlurmSettings

_SIZE = (
    "change hydra.launcher.gpus, cpus, memory, nodes or tasks "
    "(now {gpus}, {cpus}, {memory}, {nodes}, {tasks})"
)
_TIME = "change hydra.launcher.time (now {time} minutes)"
_FEWER = (
    "there are more jobs than may be in the queue at a time: put several cells into each with "
    "hydra.launcher.cells_per_job (now {cells_per_job}), or give the same command again when some have ended"
)
_LATER = "nothing is wrong with the jobs: give the same command again later"

# Pattern in Slurm's message -> what to do. Limits come first: the line about them also has the words
# "accounting", "QOS" and "time limits", whichever limit it was.
_HINTS = (
    (r"fetch_config|DNS SRV|Unknown host|Unable to process configuration",
     "no cluster answers on this machine: submit on a login node, or choose hydra/launcher=local or inline"),
    (r"(Max|Grp)(Submit|Jobs)|MaxJobCount", _FEWER),
    (r"WallDuration|TimeLimit\b|MaxCpuMinutes|MaxCPURunMinutes|CPUMinutes", _TIME),
    (r"(QOS|Assoc)\w*(GRES|Gres|TRES|Cpu|CPU|Node|Mem)\w*", _SIZE),
    (r"accounting/QOS policy", f"{_TIME}, or {_SIZE.removeprefix('change ')}, or: {_FEWER}"),
    (r"time limit", _TIME),
    (r"unrecognized option '--(?P<option>[\w-]+)",
     "leave out hydra.launcher.sbatch.{option}, which this Slurm lacks"),
    (r"reservation", "change hydra.launcher.sbatch.reservation"),
    (r"license", "change hydra.launcher.sbatch.licenses"),
    (r"partition.*account|account.*partition", "change hydra.launcher.account (now {account}) or partition "
     "(now {partition})"),
    (r"account", "change hydra.launcher.account (now {account})"),
    (r"partition", "change hydra.launcher.partition (now {partition}); sinfo lists the partitions"),
    (r"qos", "change hydra.launcher.qos (now {qos})"),
    (r"feature|constraint", "change hydra.launcher.constraint (now {constraint})"),
    (r"gres|generic resource", "change hydra.launcher.gpus (now {gpus}); sinfo -o '%P %G' lists them"),
    (r"memory", "change hydra.launcher.memory (now {memory} GB per node)"),
    (r"node configuration|cpu count|processors|node count|tasks", _SIZE),
    (r"contact slurm|timed out|temporarily|connection refused|unable to accept", _LATER),
)  # fmt: skip


def explain_refusal(message: str, settings: SlurmSettings) -> str:
    """Return Slurm's words and what to do about them.

    Args:
        message: The output of sbatch.
        settings: The settings that were submitted.
    """
    lines = [line.strip() for line in message.splitlines() if "error" in line.lower()] or [message.strip()]
    words = "; ".join(dict.fromkeys(line.split("error:")[-1].strip() for line in lines))
    for pattern, hint in _HINTS:
        if found := re.search(pattern, message, re.IGNORECASE):
            return f"Slurm refused the jobs: {words}; {hint.format(**vars(settings), **found.groupdict())}"
    return f"Slurm refused the jobs: {words}; change the keys of hydra.launcher"
