"""Truth 13: every command in README and docs runs. Budgets and sizes are cut down; the commands are the ones printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.conftest import TINY, make_corpus

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
SMALLER = {
    "train": ["budget=4steps", "validations=1", "ranks=1", *TINY, "tokenizer.kind=bpe"],
    "demo": ["--minutes", "1", "budget=4steps", "validations=1", "ranks=1", *TINY, "tokenizer.kind=bpe"],
}


def commands(page: Path) -> list[str]:
    """Lines of the ```sh blocks, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the docs make sense: data/ of one's own, and an4/ and fsdd/ where they can be had."""
    folder = tmp_path_factory.mktemp("docs")
    make_corpus(folder / "made", 60)
    data = folder / "data"
    data.mkdir()
    shutil.copytree(folder / "made" / "wav", data / "wav")
    shutil.copy(folder / "made" / "table.tsv", data / "transcripts.tsv")
    (data / "audio").mkdir()
    shutil.copy(data / "wav" / "u0000.wav", data / "audio" / "one.wav")
    for name in ("an4", "fsdd"):
        if (SHARED / name).is_dir():
            (folder / name).symlink_to(SHARED / name)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_run(page: Path, place: Path) -> None:
    for line in commands(page):
        words = shlex.split(line)
        if words[0] == "make":
            subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        elif words[0] == "utterloom":
            if any(name in line and not (place / name).exists() for name in ("an4", "fsdd")):
                continue  # that corpus cannot be had here
            arguments = [*words[1:], *SMALLER.get(words[1], [])]
            done = subprocess.run(
                [sys.executable, "-m", "utterloom.cli", *arguments],
                cwd=place,
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            assert done.returncode == 0, f"{page.name}: {line}\n{done.stdout}\n{done.stderr}"
        elif words[0] in ("python", ".venv/bin/python"):
            assert (ROOT / words[1]).is_file(), line
        else:
            assert words[0] in ("git", "cd", "pip", "source", ".", "tensorboard", "torchrun"), f"{page.name}: who runs {line!r}?"


def test_the_python_of_the_docs_compiles() -> None:
    for page in PAGES:
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            compile(block, str(page), "exec")


def test_the_links_of_the_docs_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
