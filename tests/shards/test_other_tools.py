"""Truth 8: other people's tools read our corpora as they are."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from tests.conftest import Spoken
from tests.tones import RATE_HZ, packed, prepared, speech, write_table
from utterloom.shards import layout

ODD_IDS = ["hash_123.4-135.4", "a/../b", "../up", "giọng nữ/câu 1", "x..flac", "100%", "a b"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Odd ids, a language that YAML takes for `false`, an attribute, a shard and a whole split of which nothing could be packed."""
    folder = tmp_path_factory.mktemp("odd")
    samples = speech("một hai")
    soundfile.write(folder / "one.wav", samples, RATE_HZ)
    samples[5] = float("nan")
    soundfile.write(folder / "nan.wav", samples, RATE_HZ, subtype="FLOAT")
    bad = [("bad 1", "nan.wav", "train"), ("bad 2", "nan.wav", "train"), ("bad 3", "nan.wav", "test")]
    rows = [*bad, *((name, "one.wav", "train" if number else "valid") for number, name in enumerate(ODD_IDS))]
    table = write_table(folder / "table.tsv", ({"id": name, "path": path, "text": "một, Hai", "split": split, "accent": "bắc"}
                                               for name, path, split in rows))
    prepared(table, folder / "manifest", language="no")
    packed(folder / "manifest", folder / "corpus", shard_s=0.5)
    return folder / "corpus"


def test_load_dataset_opens_the_folder_with_its_splits(spoken: Spoken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load_with_datasets(spoken.corpus, tmp_path, monkeypatch)
    for name, split in rows.items():
        shards = sorted((spoken.corpus / "utterances").glob(f"{name}-*.parquet"))
        assert list(split) == [row for path in shards for row in pq.read_table(path).to_pylist()]
    assert set(rows) == {"train", "dev"}


def test_load_dataset_opens_odd_ids_and_empty_shards(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load_with_datasets(odd, tmp_path, monkeypatch)
    assert sorted([*rows["train"]["id"], *rows["dev"]["id"]]) == sorted(ODD_IDS)
    assert rows["dev"][0]["attributes"] == [{"key": "accent", "value": "bắc"}] and rows["dev"][0]["language"] == "no"
    assert pq.read_table(odd / "utterances/train-00000.parquet").num_rows == 0


def load_with_datasets(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> dict:  # type: ignore[type-arg]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(cache))
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    return dict(datasets.load_dataset(str(corpus), cache_dir=str(cache)))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # it closes no file
def test_webdataset_reads_our_tars_with_the_escaped_id_as_key(odd: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    tars = sorted(str(path) for path in (odd / "audio").glob("*.tar"))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    gc.collect()
    assert sorted(layout.unescape_id(sample["__key__"]) for sample in samples) == sorted(ODD_IDS)
    for sample in samples:
        assert json.loads(sample["json"])["id"] == layout.unescape_id(sample["__key__"])
        assert sample["flac"].startswith(b"fLaC")


def test_the_dataset_card_is_yaml_that_means_what_it_says(odd: Path) -> None:
    yaml = pytest.importorskip("yaml")
    head = yaml.safe_load((odd / "README.md").read_text().split("---")[1])
    assert head["language"] == ["no"]
    assert {entry["split"]: entry["path"] for entry in head["configs"][0]["data_files"]} == {
        split: f"utterances/{split}-*.parquet" for split in ("train", "dev")}
