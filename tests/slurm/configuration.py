"""The configuration of a private Slurm cluster: all files below one folder, all ports on loopback."""

import os
import pwd
import random
import secrets
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# A requeued job waits until its credential has expired: 120 s by default, 5 s at least.
CREDENTIAL_S = 5
# Partition high preempts debug: a preempted job gets SIGUSR2, and this long until it is killed and requeued.
GRACE_S = 30
# From SIGTERM to SIGKILL, wherever Slurm ends a job itself.
KILL_WAIT_S = 5
# A node that does not answer for this long is down.
NODE_TIMEOUT_S = 10


@dataclass
class Size:
    """Virtual nodes, and what each of them claims to have, whatever this machine has."""

    nodes: int = 4
    cpus: int = 2
    gpus: int = 1
    # Names that resolve without /etc/hosts: torch.distributed finds the first node of a job by its name.
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = [f"127.0.0.{i}" for i in range(1, self.nodes + 1)]


def write_configuration(root: Path, size: Size) -> None:
    """Write slurm.conf and what it refers to below root."""
    for folder in ("etc", "log", "run", "state", "bin", "gpu", *(f"spool/{name}" for name in size.names)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    key = root / "etc" / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    # slurmd loads a cgroup plugin even if nothing uses one, and fails in a container to find out which.
    plugin = "cgroup/v1" if slurm_version() < (23, 11) else "disabled"
    (root / "etc" / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
    (root / "etc" / "gres.conf").write_text(_pretended_gpus(root / "gpu", size.gpus))
    (root / "etc" / "slurm.conf").write_text(_slurm_conf(root, size))
    sacct = root / "bin" / "sacct"
    sacct.write_text(SACCT)
    sacct.chmod(0o755)


def slurm_version() -> tuple[int, int]:
    said = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout
    major, minor, *_ = said.split()[-1].split(".")
    return int(major), int(minor)


def free_ports(count: int) -> list[int]:
    """TCP ports that are free on loopback, and no outgoing connection takes while a daemon is stopped."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(10_000, 20_000), 1_000):  # outgoing ones: from 32768 on
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            break
    return ports


def _pretended_gpus(folder: Path, gpus: int) -> str:
    """gres.conf: devices whose names end in digits, as Slurm wants them; it sets CUDA_VISIBLE_DEVICES."""
    for i in range(gpus):
        device = folder / f"nvidia{i}"
        device.unlink(missing_ok=True)
        device.symlink_to("/dev/null")
    return f"Name=gpu File={folder}/nvidia[0-{gpus - 1}] Flags=nvidia_gpu_env\n" if gpus else ""


def _slurm_conf(root: Path, size: Size) -> str:
    user = pwd.getpwuid(os.getuid()).pw_name
    controller, *ports = free_ports(1 + size.nodes)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    gpus = f" Gres=gpu:{size.gpus}" if size.gpus else ""
    nodes = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port}"
        f" CPUs={size.cpus} RealMemory={memory_mb}{gpus} State=UNKNOWN"
        for name, port in zip(size.names, ports, strict=True)
    )
    return f"""\
ClusterName=private
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny

AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/run/munge.socket,cred_expire={CREDENTIAL_S}

StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.daemon
SlurmdPidFile={root}/run/%n.daemon
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/%n.log
MailProg=/bin/true

# What would need /etc, cgroups, MPI or a data base.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none

SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
# The nodes together have more CPUs and memory than this machine.
SlurmdParameters=config_overrides
{nodes}

SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
MinJobAge=86400
JobRequeue=1
KillWait={KILL_WAIT_S}
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout={NODE_TIMEOUT_S}

PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
PartitionName=debug Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={GRACE_S}
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""


# submitit asks sacct, and sacct needs a data base. This one asks the controller, which here forgets no job
# (MinJobAge), and knows one question: sacct -o JobID,State,NodeList --parsable2 -j ID [-j ID]...
SACCT = """\
#!/bin/sh
echo "JobID|State|NodeList"
while [ $# -gt 0 ]; do
    if [ "$1" = -j ]; then
        shift
        squeue --noheader --array --states=all --jobs="$1" --format="%i|%T|%N" 2> /dev/null
    fi
    shift
done
exit 0
"""
