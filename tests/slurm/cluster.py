"""A private, real Slurm cluster on this machine: virtual nodes, pretended GPUs, one folder.

    with Cluster() as cluster:
        job = cluster.sbatch("hostname")
        cluster.wait_for_state(job, "COMPLETED")

Started without systemd and /etc, and stopped by pid. It needs the packages of install.sh, and no root.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.slurm import processes
from tests.slurm.configuration import Size, write_configuration

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
# Where Debian puts daemons, and only root looks.
SYSTEM_PATH = "/usr/sbin"


def missing() -> list[str]:
    """The programs of Slurm that this machine lacks."""
    path = os.pathsep.join((os.environ["PATH"], SYSTEM_PATH))
    return [name for name in NEEDED if not shutil.which(name, path=path)]


def folder_of(name: str) -> Path:
    """Where a cluster keeps everything: short, for munge refuses a socket whose path has over 107 bytes."""
    return Path(f"/tmp/rbp-slurm-{os.getuid()}-{name}")


def clear_dead() -> None:
    """Stop and remove the clusters of sessions that ended without stopping theirs."""
    for folder in folder_of("").parent.glob(f"{folder_of('').name}*"):
        owner = folder / "owner"
        if owner.exists() and not processes.running(owner):
            Cluster(folder).stop()


class Cluster:
    def __init__(self, root: Path | None = None, size: Size | None = None) -> None:
        self.root = root or folder_of(str(os.getpid()))
        self.size = size or Size()

    # -- the whole of it

    def __enter__(self) -> "Cluster":
        clear_dead()
        self.root.mkdir(mode=0o755)
        processes.write_record(self.root / "owner", os.getpid())
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all daemons; returns when every node is idle."""
        write_configuration(self.root, self.size)
        self._start("munged", "--foreground", "--origin=127.0.0.1", *self._munge_files())
        self.wait_for(lambda: (self.root / "run" / "munge.socket").exists(), "munged", 10)
        self.start_controller()
        for name in self.size.names:
            self.start_node(name)
        self.wait_for(lambda: set(self.nodes().values()) == {"idle"}, "idle nodes", 30)

    def stop(self) -> None:
        """Kill all jobs and daemons and remove the folder. Does nothing if there is none."""
        for record in (self.root / "run").glob("*.pid"):
            processes.end(record, at_once=True)
        processes.kill(self.processes())
        for path in self.root.glob("*"):
            if (
                path.name != "owner"
            ):  # kept to the last: where it is missing, clear_dead leaves the folder alone
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def env(self) -> dict[str, str]:
        """The environment in which sbatch and its like, and submitit, speak to this cluster."""
        outer = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH_"))}
        path = os.pathsep.join((str(self.root / "bin"), outer["PATH"], SYSTEM_PATH))
        return {**outer, "SLURM_CONF": str(self.root / "etc" / "slurm.conf"), "PATH": path}

    def runs(self) -> bool:
        return processes.running(self._record("slurmctld")) is not None

    # -- its parts

    def start_controller(self) -> None:
        self._start("slurmctld", "-D")
        self.wait_for(lambda: "UP" in self.run("scontrol", "ping").split(), "the controller", 20)

    def stop_controller(self, at_once: bool = False) -> None:
        """Stop slurmctld: in an orderly way, or by SIGKILL. Jobs run on."""
        processes.end(self._record("slurmctld"), at_once=at_once)

    def start_node(self, name: str) -> None:
        self._start("slurmd", "-D", "-N", name, name=name, folder=self.root / "spool" / name)

    def stop_node(self, name: str) -> None:
        """Stop a node's slurmd, as an update of Slurm would: its jobs run on."""
        processes.end(self._record(name))

    def kill_node(self, name: str) -> None:
        """Kill a node's slurmd and all that runs on it at once, as if the power had failed."""
        processes.kill(self.processes(name))

    def nodes(self) -> dict[str, str]:
        """Each node's state, as sinfo says it: idle, mixed, allocated, down; `*`: it does not answer."""
        lines = self.run("sinfo", "--noheader", "--Node", "--partition=debug", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    # -- its jobs

    def run(self, *command: str) -> str:
        """What a command of Slurm says; fails with what it complains about."""
        done = subprocess.run(command, capture_output=True, text=True, env=self.env, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done.stdout

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a line of shell; the job's id. What it prints, in all its runs, is in output(job)."""
        common = ("--parsable", "--open-mode=append", f"--output={self.output('%j')}")
        return self.run("sbatch", *common, *options, f"--wrap={script}").strip()

    def output(self, job: str) -> Path:
        return self.root / "log" / f"job{job}.out"

    def jobs(self, columns: str = "%T") -> dict[str, str]:
        """What squeue says of every job and array task there was: its state, unless told otherwise."""
        listing = ("squeue", "--noheader", "--array", "--states=all", f"--format=%i|{columns}")
        return dict(line.split("|", 1) for line in self.run(*listing).splitlines())

    def state(self, job: str) -> str:
        return self.jobs()[job]

    def restarts(self, job: str) -> int:
        """How often a job was requeued."""
        fields = self.run("scontrol", "show", "job", job).split()
        return next(int(field.partition("=")[2]) for field in fields if field.startswith("Restarts="))

    def story(self, *jobs: str) -> str:
        """What Slurm knows of jobs, and its own log, for the message of a test that fails."""
        shown = [self.run("scontrol", "show", "job", job) for job in jobs]
        logs = [file.read_text(errors="replace")[-6000:] for file in sorted(self.root.rglob("slurmctld.log"))]
        return "\n".join([*shown, *logs])

    def tasks(self, job: str) -> list[int]:
        """The pids of the tasks that srun started for a job (`12`, or `12_3` in an array), by rank."""
        raw = self.jobs("%A")[job]
        found = []
        for above in self._watchers():
            if processes.command_line(above).strip() == f"slurmstepd: [{raw}.0]":
                children = [pid for pid in processes.all_pids() if processes.parent(pid) == above]
                found += [pid for pid in children if "SLURM_PROCID" in processes.environment(pid)]
        return sorted(found, key=lambda pid: int(processes.environment(pid)["SLURM_PROCID"]))

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Until condition holds, asked several times a second; a command of Slurm may fail meanwhile."""
        deadline, reason = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except (AssertionError, KeyError, subprocess.TimeoutExpired) as error:
                reason = repr(error)
            time.sleep(0.1)
        raise TimeoutError(f"waited {seconds:g} s for {what}. {reason}\n{self.report()}")

    def wait_for_state(self, job: str, state: str, seconds: float = 60) -> None:
        self.wait_for(lambda: self.state(job) == state, f"job {job} to be {state}", seconds)

    def report(self) -> str:
        """What to look at when a test fails: nodes, jobs, the last lines of the daemons' logs."""
        commands = (("sinfo", "--Node", "--long"), ("squeue", "--array", "--states=all"))
        said = [subprocess.run(c, capture_output=True, text=True, env=self.env).stdout for c in commands]
        logs = sorted((self.root / "log").glob("*.err"))
        tails = [f"== {log.stem}\n" + "\n".join(log.read_text().splitlines()[-8:]) for log in logs]
        return "\n".join([*said, *tails])

    @contextlib.contextmanager
    def holding_jobs(self) -> Iterator[None]:
        """While inside, jobs of partition debug are queued and none starts."""
        self.run("scontrol", "update", "PartitionName=debug", "State=DOWN")
        try:
            yield
        finally:
            self.run("scontrol", "update", "PartitionName=debug", "State=UP")

    # -- its processes

    def _record(self, name: str) -> Path:
        return self.root / "run" / f"{name}.pid"

    def _start(self, *command: str, name: str | None = None, folder: Path | None = None) -> None:
        record = self._record(name or command[0])
        if not processes.running(record):
            log = self.root / "log" / f"{record.stem}.err"
            processes.start(record, command, log, self.env, folder or self.root)

    def _munge_files(self) -> list[str]:
        run, etc, log = (self.root / name for name in ("run", "etc", "log"))
        return [
            f"--socket={run}/munge.socket",
            f"--key-file={etc}/munge.key",
            f"--pid-file={run}/munged.daemon",
            f"--seed-file={run}/munge.seed",
            f"--log-file={log}/munged.log",
        ]

    def processes(self, node: str | None = None) -> list[int]:
        """All that runs on one node, or on all: slurmd, and the jobs with those that watch over them."""
        return processes.descendants(self._watchers(node))

    def _watchers(self, node: str | None = None) -> list[int]:
        """Each slurmd, and the slurmstepd that it started, which outlive it: they work in its folder."""
        spool = self.root / "spool"
        folders = [spool / node] if node else list(spool.glob("*"))
        return [pid for pid in processes.all_pids() if processes.working_folder(pid) in folders]
