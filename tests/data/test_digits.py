"""The bundled digits: one split for ever, and the figures in the config are its own."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import sklearn
import torch
from sklearn.datasets import load_digits

from rbp.data.static import sklearn_digits
from rbp.data.static.digits import digits
from tests.support.datasets import dataset_config


def test_split_sizes_and_shares_per_class() -> None:
    train, test = digits("", download=False)
    assert train.pixels.shape == (1437, 1, 8, 8) and test.pixels.shape == (360, 1, 8, 8)
    n_per_class = torch.from_numpy(load_digits().target).bincount()
    assert torch.equal(train.labels.bincount() + test.labels.bincount(), n_per_class)
    assert (test.labels.bincount() - n_per_class * 360 / 1797).abs().max() < 1


def test_the_split_is_the_one_that_past_results_were_got_with() -> None:
    _, test = digits("", download=False)
    assert test.labels[:12].tolist() == [0, 4, 1, 3, 5, 9, 9, 8, 2, 8, 0, 3]
    assert int(test.pixels.sum()) == 1_799_278


def test_shades_go_from_0_to_255() -> None:
    train, _ = digits("", download=False)
    # 16 shades above black, 255/16 apart, rounded (halves to even)
    assert train.pixels.unique().tolist() == [round(shade * 255 / 16) for shade in range(17)]


def test_mean_and_deviation_in_the_config_are_the_training_set_s() -> None:
    train, _ = digits("", download=False)
    cfg = dataset_config("digits")
    shades = train.pixels.double() / 255
    assert round(shades.mean().item(), 4) == cfg.mean[0] and round(shades.std().item(), 4) == cfg.std[0]


def test_the_file_is_read_as_scikit_learn_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bunch = load_digits()
    for place in (Path(sklearn.__file__).parent, Path("moved")):
        spec = SimpleNamespace(submodule_search_locations=[str(place)])
        monkeypatch.setattr(sklearn_digits, "find_spec", lambda name, spec=spec: spec)
        images, labels = sklearn_digits.read_digits()
        assert torch.equal(images, torch.from_numpy(bunch.images)) and images.dtype == torch.float64
        assert torch.equal(labels, torch.from_numpy(bunch.target)) and labels.dtype == torch.int64


def test_the_digits_need_no_import_of_scikit_learn() -> None:
    read = "from rbp.data.static.digits import digits; digits('', False)"
    code = f"import sys; {read}; print('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
