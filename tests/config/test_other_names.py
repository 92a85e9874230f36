"""Keys by the names that other tools give them: the message says what they are called here."""

import pytest

from rbp.config import other_names
from rbp.config.schema import keys
from rbp.errors import ConfigError
from rbp.sweep.grid.compose import compose_cell


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("model=resnet18", "model: no such key; here it is arch"),
        ("net=vgg11", "net: no such key; here it is arch"),
        ("+model=resnet18", "model: no such key; here it is arch"),
        ("model.width=3", "model.width: no such key; here it is arch.width"),
        ("logger=wandb", "logger: no such key; here it is tracker"),
        ("time_steps=8", "time_steps: no such key; here it is T"),
        ("trainer.gpus=2", "trainer.gpus: no such key; here it is trainer.device"),
        ("experiment=first", "experiment: no such key; here it is sweeps"),
        ("ckpt_path=last.pt", "eval_only=true checkpoint=PATH"),
        ("resume=true", "a run goes on from its own last checkpoint"),
        ("lr=0.1", "did you mean optimizer.lr"),
        ("trainer.max_epochs=3", "did you mean trainer.epochs"),
    ],
)
def test_a_name_of_another_tool_is_translated(typed: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_cell([typed])
    assert told in str(refused.value)


def test_every_proposed_key_exists_and_no_key_of_ours_is_translated() -> None:
    ours = {*keys(), *(key.partition(".")[0] for key in keys()), "sweeps"}
    assert set(other_names._NAMES) <= ours
    assert not {*other_names._OURS, *other_names._CHECKPOINTS} & ours
