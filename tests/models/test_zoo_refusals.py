"""What a network of SpikingJelly's zoo cannot be is refused by key, value and what is allowed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rbp.errors import ConfigError
from rbp.models import build
from rbp.models.zoo import spikingjelly
from rbp.sweep.launch import main
from tests.support.configs import make
from tests.support.zoo import TINY

REFUSED = {
    "arch=spikingjelly arch.model=resnet18": r"arch.model=resnet18: must be one of sew_resnet18, .*sdt_8_384",
    "arch=sj_sdt +arch.images=small": r"arch.images with arch.model=sdt_8_384: no such setting; there are",
    "arch=sj_sew_resnet18 arch.images=large": r"arch.images=large .*must be one of small, imagenet",
    "arch=sj_sew_resnet18 arch.cnf=XOR": r"arch.cnf=XOR .*must be one of ADD, AND, IAND",
    "arch=sj_spikformer arch.depths=0": r"arch.depths=0 .*must be a whole number, 1 or more",
    "arch=sj_spikformer arch.embed_dims=4": r"arch.embed_dims=4 .*must be a whole number, 8 or more",
    "arch=sj_qkformer arch.depths=[1,2] dataset.size=16": r"arch.depths=\[1, 2\] .*a list of 3 whole numbers",
    "arch=sj_sdt arch.mlp_ratio=-1": r"arch.mlp_ratio=-1 .*must be a number above 0",
    "arch=sj_sdt arch.pooling_stat=1111": r"arch.pooling_stat=1111 .*must be 4 digits 0 or 1 in quotes",
    "arch=sj_spikformer arch.num_heads=7": r"arch.model=spikformer_cifar10 with .*384.*num_heads 7",
    "arch=sj_spikformer arch.patch_size=8": r"arch.patch_size=8.* patch_size=4 or 16",
    "arch=sj_ms_resnet18": r"arch.model=ms_resnet18 with dataset.size=8: .*at least 16",
    "arch=sj_spiking_vgg11_bn": r"arch.model=spiking_vgg11_bn with dataset.size=8: .*at least 32",
    "arch=sj_sew_resnet18 arch.images=imagenet": r"arch.model=sew_resnet18 with .*at least 32",
    "arch=sj_sdt arch.pooling_stat='1111'": r"arch.model=sdt_8_384 with dataset.size=8: .*at least 16",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_does_not_fit_is_refused_by_key_and_value(line: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED[line]), torch.device("meta"):
        build(make(*line.split()))


def test_refusals_come_before_anything_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tracker=none", "arch=spikingjelly", "arch.model=resnet18"]) != 0
    assert "arch.model=resnet18: must be one of" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_loss_of_each_step_is_refused_where_the_network_hides_its_steps(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["tracker=none", "T=2", "arch=sj_maxformer", *TINY["sj_maxformer"], "loss=per_step"]
    for way in (["step_mode=m"], ["-m", "step_mode=m,s"]):
        assert main([*line, *way]) != 0
        told = capsys.readouterr().err
        assert "arch=sj_maxformer with neuron=lif: per_step=True: the network takes" in told
        assert "step_mode='s'" in told and not Path("runs").exists()
    assert main([*line, "step_mode=s", "--dry-run"]) == 0


def test_neurons_without_a_step_mode_are_refused() -> None:
    with pytest.raises(ConfigError, match="a ReLU has no step_mode"):
        spikingjelly(nn.ReLU, 3, 10, "maxformer_cifar", size=32, T=4)
