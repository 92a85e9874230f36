"""DistributedDataParallel over two gloo processes: the gradients of one process on the whole batch."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.rate.distributed_worker import CASES, WORLD, batch, network, train_step

# In one process: they share what two others computed.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("distributed")]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, ...], Any]]:
    folder = tmp_path_factory.mktemp("gloo")
    command = [sys.executable, "-m", "tests.rate.distributed_worker"]
    started = [
        subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for rank in range(WORLD)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_processes_give_the_gradients_and_statistics_of_one_on_the_whole_batch(
    of_two: list[dict[tuple[str, ...], Any]], case: tuple[str, str, str, str]
) -> None:
    alone = train_step(network(case[0]), *batch(), case)
    for result in (of_two[0][case], of_two[1][case]):
        assert result["gradients"].keys() == alone["gradients"].keys()
        for kind in ("gradients", "buffers"):
            for name, value in alone[kind].items():
                torch.testing.assert_close(result[kind][name], value, rtol=1e-8, atol=1e-10, msg=name)
    weights = [g for name, g in alone["gradients"].items() if name.endswith("weight")]
    assert all(g.abs().sum() > 1e-4 for g in weights)
