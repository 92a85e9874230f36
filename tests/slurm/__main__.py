"""A private Slurm cluster by hand, from the project's folder:

python -m tests.slurm start [--nodes N] [--cpus N] [--gpus N]
eval "$(python -m tests.slurm env)"      # then sinfo, python launch.py ... hydra/launcher=slurm
python -m tests.slurm status
python -m tests.slurm stop
"""

import argparse
import shlex
import sys

from tests.slurm.cluster import SYSTEM_PATH, Cluster, clear_dead, folder_of, missing
from tests.slurm.configuration import Size


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.slurm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("start", "env", "status", "stop"))
    for name, value in (("nodes", 4), ("cpus", 2), ("gpus", 1)):
        parser.add_argument(
            f"--{name}", type=int, default=value, help=f"start: {name} (per node), {value} by default"
        )
    options = parser.parse_args()
    cluster = Cluster(folder_of("hand"), Size(options.nodes, options.cpus, options.gpus))
    {"start": start, "env": env, "status": status, "stop": Cluster.stop}[options.command](cluster)


def start(cluster: Cluster) -> None:
    if missing():
        sys.exit(f"This machine has no {', '.join(missing())}: tests/slurm/install.sh installs Slurm.")
    clear_dead()
    if cluster.runs():
        sys.exit(f"It is running: {cluster.root}. To start it anew: python -m tests.slurm stop")
    cluster.stop()  # what is left of one that did not stop in an orderly way
    cluster.start()
    print(f'{cluster.size.nodes} nodes in {cluster.root}. Now: eval "$(python -m tests.slurm env)"')


def env(cluster: Cluster) -> None:
    _must_run(cluster)
    print(f"export SLURM_CONF={shlex.quote(cluster.env['SLURM_CONF'])}")
    print(f'export PATH={shlex.quote(str(cluster.root / "bin"))}:"$PATH":{SYSTEM_PATH}')


def status(cluster: Cluster) -> None:
    _must_run(cluster)
    print(cluster.run("sinfo", "--Node", "--long") + cluster.run("squeue", "--array", "--states=all"), end="")


def _must_run(cluster: Cluster) -> None:
    if not cluster.runs():
        sys.exit("No cluster is running: python -m tests.slurm start")


if __name__ == "__main__":
    main()
