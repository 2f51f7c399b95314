"""What tests share: one thread, no deadline on a busy machine, the shared data, and a small packed corpus of tone speech."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported; processes that tests start inherit it

import pytest
from hypothesis import settings

from tests.tones import make_speech, packed, prepared

settings.register_profile("utterloom", deadline=None)
settings.load_profile("utterloom")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real recordings beside the checkout."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"there is no shared data at {folder}")
    return folder


class Spoken(NamedTuple):
    """Where the stages of one small corpus lie. Whoever changes a file works on a copy."""

    table: Path
    manifest: Path
    corpus: Path


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    """48 utterances of 4 speakers: train (3 shards or more) and dev, packed."""
    folder = tmp_path_factory.mktemp("spoken")
    table = make_speech(folder / "source", 48, splits=("train", "train", "train", "dev"))
    prepared(table, folder / "manifest")
    packed(folder / "manifest", folder / "corpus", shard_s=5.0)
    return Spoken(table, folder / "manifest", folder / "corpus")


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def utterloom(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process: `utterloom("pack", manifest, corpus)`. A traceback fails the test."""
    from utterloom.cli import main

    def run(*words: object) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["utterloom", *(str(word) for word in words)])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(bool(error.code))
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        return Said(code, out, err)

    return run
