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
WALK = [ROOT / "docs" / "walk" / f"{name}.md" for name in ("prepare", "pack", "train", "extract", "evaluate")]  # in this order
PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *WALK,
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page not in WALK),
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
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders in which the commands of the docs make sense, one for the README and one for the walk, whose pages follow one
    another: data/ of one's own, and an4/ and fsdd/ where they can be had."""
    made = tmp_path_factory.mktemp("made") / "corpus"
    make_corpus(made, 60)
    folders = {}
    for name in ("readme", "walk"):
        folders[name] = folder = tmp_path_factory.mktemp(name)
        shutil.copytree(made / "wav", folder / "data" / "wav")
        shutil.copy(made / "table.tsv", folder / "data" / "transcripts.tsv")
        ids = [line.split("\t")[0] for line in (made / "table.tsv").read_text(encoding="utf-8").splitlines()[1:]]
        official = "".join(f"{name}\t{'test' if number % 5 == 0 else 'train'}\n" for number, name in enumerate(ids))
        (folder / "data" / "official.tsv").write_text(f"id\tsplit\n{official}", encoding="utf-8")
        (folder / "data" / "audio").mkdir()
        shutil.copy(made / "wav" / "u0000.wav", folder / "data" / "audio" / "one.wav")
        for corpus in ("an4", "fsdd"):
            if (SHARED / corpus).is_dir():
                (folder / corpus).symlink_to(SHARED / corpus)
    return folders


def judge(sheet: Path) -> None:
    """Somebody hears the first utterance and finds it good, the second bad."""
    from openpyxl import load_workbook

    book = load_workbook(sheet)
    rows = book.active
    head = next(row for row in rows.iter_rows() if any(cell.value == "verdict" for cell in row))
    (verdict,) = (cell.column for cell in head if cell.value == "verdict")
    for row, word in ((1, "good"), (2, "bad")):
        rows.cell(head[0].row + row, verdict, word)
    book.save(sheet)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_run(page: Path, places: dict[str, Path]) -> None:
    place = places["readme" if page.name == "README.md" else "walk"]
    for line in commands(page):
        words = shlex.split(line)
        if "verdicts=" in line:
            judge(place / "samples" / "first" / "review.xlsx")
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
