"""The reader of a drafter's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import ugsd_sdk
from ugsd_sdk.drafter.bundle import BUNDLED, DrafterBundle
from ugsd_sdk.errors import ModelError


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_name_is_its_folder(name: str) -> None:
    bundle = DrafterBundle.of(name)
    assert bundle.folder == Path(ugsd_sdk.__file__).parent / name
    assert bundle.name == name


def test_other_name_is_a_path(tmp_path: Path) -> None:
    assert DrafterBundle.of("./starter").folder == Path("./starter")
    assert DrafterBundle.of(tmp_path).folder == tmp_path


@pytest.mark.parametrize("read", [DrafterBundle.description, DrafterBundle.pieces])
def test_missing_folder_is_a_model_error(tmp_path: Path, read: object) -> None:
    with pytest.raises(ModelError, match="give a folder"):
        read(DrafterBundle(tmp_path / "none"))  # type: ignore[operator]
