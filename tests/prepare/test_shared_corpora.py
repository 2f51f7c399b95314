"""Every corpus beside the checkout, raw to packed, in one line each on the command line; the counts are those of its README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Command
from tests.prepare.corpora import lay


class Corpus(NamedTuple):
    """How one is read: the source below its folder, the settings, and what its README says that is not to be used."""

    name: str
    reader: str
    source: str
    settings: tuple[str, ...] = ()
    utterances: int | None = None  # None: as the README says
    dropped: int = 0
    damaged: int = 0  # that pack finds


WHOLE = ("dev=0", "test=0", "max_s=1000", "unlabelled=keep")  # composites of minutes, and clips without a transcript
TABLES = ("an4", "fsdd", "librispeech_2mix", "ljspeech_lj001", "longform", "mfa_testdata", "picovoice_multilang",
          "speechocean762", "vivos_spk01", "yesno")
CORPORA = [
    *(Corpus(name, "table", "transcripts.tsv", WHOLE) for name in TABLES),
    Corpus("ingest_formats", "table", "transcripts.tsv", WHOLE, damaged=1),  # the last frames of p001.flac are damaged as published
    Corpus("common_voice_tw", "common_voice", "", (*WHOLE, "group_by=[]")),
    Corpus("common_voice_tw", "table", "transcripts.tsv", WHOLE),
    Corpus("librispeech_2mix", "rttm", "", WHOLE, utterances=20),  # two speakers in each recording, one after the other
    Corpus("longform", "captions", "", WHOLE, utterances=56, dropped=68),  # captions of a French recording that is not there
]
QUICK = {"picovoice_multilang", "vivos_spk01"}


@pytest.mark.parametrize("corpus", [
    pytest.param(one, marks=() if one.name in QUICK else pytest.mark.slow, id=f"{one.name}-{one.reader}") for one in CORPORA])
def test_a_corpus_from_raw_to_packed(corpus: Corpus, shared: Path, tmp_path: Path, utterloom: Command) -> None:
    folder = shared / "data" / corpus.name
    said = dict(re.findall(r"^- (utterances|splits): (.*)$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    manifest, packed = tmp_path / "manifest", tmp_path / "corpus"
    done = utterloom("prepare", corpus.reader, folder / corpus.source, manifest, *corpus.settings, "--json")
    assert done.code == 0, done.err
    card = json.loads(done.out)
    wanted = int(said["utterances"]) if corpus.utterances is None else corpus.utterances
    assert (card["utterances"], card["ledger"]["dropped"]) == (wanted, corpus.dropped)
    if corpus.utterances is None:
        splits = dict(part.split() for part in said["splits"].split(", "))
        assert {name: split["utterances"] for name, split in card["splits"].items()} == {
            name: int(count) for name, count in splits.items()}
    done = utterloom("pack", manifest, packed, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["utterances"] == wanted - corpus.damaged
    assert utterloom("verify", packed).code == 0


def test_every_corpus_is_read_in_some_way(shared: Path) -> None:
    assert {corpus.name for corpus in CORPORA} == {readme.parent.name for readme in (shared / "data").glob("*/README.md")}


@pytest.mark.slow
def test_yesno_as_its_kaldi_recipe_lays_it_out(shared: Path, tmp_path: Path, utterloom: Command) -> None:
    """With commands in wav.scp, as recipes write them; split by split as the README has it."""
    source = shared / "data" / "yesno"
    rows = [line.split("\t") for line in (source / "transcripts.tsv").read_text("utf-8").splitlines()[1:]]
    for split in ("train", "test"):
        mine = sorted(row for row in rows if row[4] == split)
        piped = "".join(f"{row[0]} sox {source}/{row[1]} -t wav -r 16k - |\n" for row in mine)
        lay(tmp_path, {f"data/{split}_yesno/wav.scp": piped,
                       f"data/{split}_yesno/text": "".join(f"{row[0]} {row[2]}\n" for row in mine),
                       f"data/{split}_yesno/utt2spk": "".join(f"{row[0]} global\n" for row in mine)})
    done = utterloom("prepare", "kaldi", tmp_path / "data", tmp_path / "m", "dev=0", "test=0", "--json")
    assert done.code == 0, done.err
    card = json.loads(done.out)
    assert {name: split["utterances"] for name, split in card["splits"].items()} == {"train": 31, "test": 29}
    assert json.loads(utterloom("pack", tmp_path / "m", tmp_path / "c", "--json").out)["utterances"] == 60
