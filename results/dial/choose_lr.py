"""Each method's best learning rate: python results/dial/choose_lr.py runs/dial_lr

By the mean accuracy on held-out images over all data sets and leaks, after the last epoch; of equal ones the
smaller rate.
"""

import sys
from collections import defaultdict
from pathlib import Path

from rbp.report.figures.style import method_name
from rbp.report.read import read_runs


def main(folder: Path) -> None:
    """Print a line for each method: its mean accuracy at each rate, the best first."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    runs, problems = read_runs([folder])
    for run in runs:
        accuracy = run.figure("val_acc")
        assert accuracy is not None, f"{run.name} is not done"
        frames = f", {run.T} frames" if run.grad_mode == "bptt" else f" of {run.T} frames"
        found[method_name(run.method) + frames][run.others["optimizer.lr"]].append(accuracy)
    for method, rates in found.items():
        means = {rate: sum(values) / len(values) for rate, values in rates.items()}
        best = sorted(means, key=lambda rate: (-round(means[rate], 4), rate))
        told = ", ".join(f"{rate}: {100 * means[rate]:.2f} % (n={len(rates[rate])})" for rate in best)
        print(f"{method}: {told}")
    print(*problems, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
