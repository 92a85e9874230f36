"""The pictures are those that their scripts draw of the numbers that are there now."""

from pathlib import Path

import pytest

from docs.pictures import costs, dial, method, schemes
from rbp.config.composition.places import ROOT

PICTURES = ROOT / "docs" / "pictures"


@pytest.mark.parametrize("module", [method, costs, dial], ids=lambda module: module.__name__)
def test_a_picture_is_what_its_script_draws(
    module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemes, "FOLDER", tmp_path)
    module.make()  # type: ignore[attr-defined]
    drawn = sorted(tmp_path.iterdir())
    assert len(drawn) == 2
    for file in drawn:
        assert file.read_text("utf-8") == (PICTURES / file.name).read_text("utf-8"), "python -m docs.pictures"


def test_pictures_ask_nothing_of_another_host() -> None:
    for file in PICTURES.glob("*.svg"):
        text = file.read_text("utf-8")
        assert "url(http" not in text and "href=" not in text, file.name
