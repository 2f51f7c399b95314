"""`show` on layers: finished, under way, stopped, hurt, stale; and what they have of one utterance."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.show.woven import CODEBOOK, TEXTS, WORD_S, add_layers, make_corpus, start_of
from tests.tones import RATE_HZ
from utterloom import cli, pipeline
from utterloom.core.artifact import BUILDING
from utterloom.core.errors import ConfigError, CorpusError, SourceError
from utterloom.show.place import place_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With all four kinds of layers."""
    path = make_corpus(tmp_path_factory.mktemp("woven"))
    add_layers(path)
    return path


@pytest.fixture
def copied(corpus: Path, tmp_path: Path) -> Path:
    """One that may be hurt."""
    return Path(shutil.copytree(corpus, tmp_path / "corpus"))


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(path: Path, utterance: str | None = None) -> tuple[dict[str, Any], str]:
    """The JSON object as a machine gets it, and the lines as one text without their breaks."""
    value, lines = pipeline.show(path, [utterance] if utterance else [])
    return json.loads(json.dumps(value)), " ".join(" ".join(lines).replace("\u00a0", " ").split())


# --- layers -----------------------------------------------------------------------------------------------------------


def test_a_layer_says_what_it_is_and_what_failed(corpus: Path) -> None:
    value, text = shown(corpus / "hubert-50")
    assert (value["kind"], value["state"], value["wrong_files"], value["shards_lacking"]) == ("layer", "finished", [], [])
    assert (value["ledger"]["ok"], value["ledger"]["failed"]) == (5, 1)
    assert f"units of 6 utterances, {7.4} s: {CODEBOOK} units, 50 Hz" in text and "an hour" in text
    assert "failed 1: too short for the model" in text and "codebook=books/50" in text and "all of the corpus" in text
    assert value["go_on"] is None and "go on" not in text
    float16 = shown(corpus / "wavlm")[1]
    assert "float16 [frames, 12], 50 Hz" in float16


def test_the_commands_of_a_layer_work(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = pipeline.show(corpus / "words")
    for label in ("check them", "one of them"):
        words = shlex.split(next(line for line in lines if line.strip().startswith(label)).split("  ")[-1])
        assert words[0] == "utterloom"
        cli.app(words[1:], standalone_mode=False)
    said = capsys.readouterr().out
    assert "is whole" in said and "utterance u0" in said


def test_a_file_of_a_layer_shows_which_shard_it_is_of(corpus: Path) -> None:
    value, text = shown(corpus / "wavlm" / "dev-00000.tar")
    assert value["path"] == str(corpus / "wavlm")
    assert "dev-00000.tar, of shard dev-00000: ok 2, empty 0, failed 0" in text


def test_a_corpus_lists_its_layers(corpus: Path) -> None:
    value, text = shown(corpus)
    assert [row["name"] for row in value["extracted"]] == ["hubert-50", "qwen", "wavlm", "words"]
    assert value["extracted"][0]["counts"] == {"ok": 5, "empty": 0, "failed": 1}
    assert "words: words, 6 ok" in text and "hubert-50: units, 5 ok, 1 failed" in text and "--page corpus.html" in text


def test_a_stopped_layer_says_how_far_it_is_and_how_it_goes_on(corpus: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns("wavlm")))
    add_layers(path, ["wavlm"], shards=1)
    value, text = shown(path / "wavlm")
    assert (value["state"], value["shards_there"], len(value["shards_planned"])) == ("stopped", ["train-00000"], 2)
    assert "1 of 2 there: train-00000" in text and "ok 3, empty 0, failed 1" in text
    assert value["go_on"] == f"utterloom extract features {path} model=wavlm name=wavlm"
    listed = next(row for row in shown(path)[0]["extracted"] if row["name"] == "wavlm")
    assert (listed["state"], listed["shards_there"], listed["shards_planned"]) == ("stopped", 1, 2)
    assert "wavlm" not in shown(path, "u0")[0]["layers"]


def test_files_that_are_missing_or_cut_are_named(copied: Path) -> None:
    (copied / "wavlm" / "dev-00000.tar").unlink()
    with (copied / "wavlm" / "train-00000.parquet").open("ab") as file:
        file.write(b"x")
    value, text = shown(copied / "wavlm")
    assert "dev-00000.tar is missing" in value["wrong_files"] and len(value["wrong_files"]) == 2
    assert "wrong: " in text and value["go_on"].startswith("utterloom extract features")


def test_a_shard_that_joined_later_is_lacking(copied: Path) -> None:
    from utterloom.core.artifact import amend, load_card

    card = load_card(copied / "words", "layer")
    amend(copied / "words", "layer", {"shards": card["shards"][:1]})
    value, text = shown(copied / "words")
    assert value["shards_lacking"] == ["dev-00000"] and "1 of 2; joined or changed since: dev-00000" in text
    assert value["go_on"] == f"utterloom extract words {copied} model=runs/align name=words"
    assert "lacks 1 shard of the corpus" in shown(copied)[1]
    assert shown(copied, "u2")[0]["layers"]["words"]["complaint"].startswith("it lacks shard dev-00000")
    assert shown(copied, "u0")[0]["layers"]["words"]["status"] == "ok"


def test_a_layer_in_a_folder_of_its_own_finds_its_corpus(copied: Path) -> None:
    beside = copied.parent / "wavlm-elsewhere"
    (copied / "wavlm").rename(beside)
    value = shown(beside)[0]
    assert value["corpus_path"] == str(copied)
    assert shown(beside, "u1")[0]["layers"]["wavlm"]["kind"] == "features"
    shutil.rmtree(copied)
    assert "which is not near here" in shown(beside)[1]
    with pytest.raises(SourceError, match="the corpus of layer"):
        pipeline.show(beside, ["u1"])


def test_a_broken_card_hides_neither_the_corpus_nor_the_other_layers(copied: Path) -> None:
    (copied / "words" / "layer.json").write_text("{")
    (copied / "qwen" / "layer.json").rename(copied / "qwen" / BUILDING)
    value, text = shown(copied)
    assert [row["state"] for row in value["extracted"]] == ["finished", "broken", "finished", "broken"]
    assert "is not JSON" in text
    assert "is not JSON" in shown(copied, "u0")[0]["layers"]["words"]["complaint"]


def test_a_shelf_calls_a_layer_a_layer(copied: Path) -> None:
    (copied / "words").rename(copied.parent / "words")
    rows = shown(copied.parent)[0]["artifacts"]
    assert ("layer", "words of 6 utterances") in [(row["kind"], row["summary"]) for row in rows]
    assert place_of(copied.parent / "words").kind == "layer"


# --- one utterance ----------------------------------------------------------------------------------------------------


def test_an_utterance_lists_what_each_layer_has_of_it(corpus: Path) -> None:
    value, text = shown(corpus, "u0")
    layers = value["layers"]
    words = layers["words"]["words"]
    assert [word["start_s"] for word in words] == [start_of(0) / RATE_HZ, start_of(1) / RATE_HZ, start_of(2) / RATE_HZ, None]
    assert words[0]["stop_s"] == pytest.approx(0.1 + WORD_S)
    assert "0.10–0.40 một 0.50–0.80 ~hai 0.90–1.20 ?ba without time: bốn" in text
    assert ("4 words, 1 estimated, 1 implausible, 1 without time, score 0.61, flagged: 1 word too long (~ estimated, ? implausible)"
            in text)
    units = layers["hubert-50"]
    assert len(units["units"]) == len(units["runs"]) and sum(units["runs"]) == units["num_frames"] == 85 and units["rate_hz"] == 50
    first = f"{units['units'][0]}×{units['runs'][0]}" if units["runs"][0] > 1 else str(units["units"][0])
    assert f"at 50 Hz, {len(units['runs'])} runs of {len(set(units['units']))} units of {CODEBOOK} {first}" in text
    assert "85 frames of 12 float16 at 50 Hz" in text and layers["wavlm"]["array_bytes"] == 85 * 12 * 2
    assert "8 tokens, 2 without time" in text and "0.10–0.40 m 0.10–0.40 ột" in text and "without time: b · ốn" in text


def test_what_failed_says_why(corpus: Path) -> None:
    value, text = shown(corpus, "u3")
    assert value["layers"]["wavlm"]["status"] == "failed"
    assert text.count("failed: too short for the model: 0.5 s") == 3


def test_a_layer_tells_of_itself_alone(corpus: Path) -> None:
    assert list(shown(corpus / "words", "u0")[0]["layers"]) == ["words"]


def test_a_layer_of_a_hurt_shard_complains_and_the_others_do_not(copied: Path) -> None:
    path = copied / "words" / "train-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    value, text = shown(copied, "u0")
    assert "does not match its checksum" in value["layers"]["words"]["complaint"] and value["layers"]["qwen"]["status"] == "ok"
    assert "words: cannot be read: " in text


@pytest.mark.parametrize(("words", "wanted"), [
    (["--id", "u0", "--id", "u1"], "one utterance is explained at a time, not 2"),
    (["--from", "1"], "--from says what is to be drawn"),
    (["--layer", "words"], "--layer says what is to be drawn"),
    (["--utterances", "3"], "--utterances says what is to be drawn"),
    (["--draw", "x.png"], "none is named"),
    (["--id", "u0", "--draw", "x.jpg"], "does not end in .png"),
    (["--id", "u0", "--draw", "x.png", "--page", "x.html"], "are two things"),
    (["--page", "x.png"], "is no name for a page"),
    (["--page", "x.html", "--utterances", "0"], "a page has 1 to 200"),
    (["--page", "x.html", "--utterances", "3", "--id", "u0"], "give one of the two"),
    (["--id", "u0", "--draw", "x.png", "--from", "5"], "that lasts 1.700 s"),
    (["--id", "u0", "--draw", "x.png", "--from", "1", "--to", "0.5"], "there is nothing from 1 s to 0.5 s"),
    (["--id", "u0", "--draw", "x.png", "--to", "nan"], "there is nothing from 0 s to nan s"),
])
def test_options_that_do_not_go_together(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str],
                                         wanted: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=wanted):
        cli.app(["show", str(corpus), *words], standalone_mode=False)
    assert not list(tmp_path.iterdir())


def test_names_that_are_none(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no layer 'word'") as caught:
        pipeline.show(corpus, ["u0"], picture=tmp_path / "x.png", layers=["word"])
    assert "'words'" in str(caught.value)
    with pytest.raises(CorpusError, match="has no utterance 'u7'"):
        pipeline.show(corpus, ["u0", "u7"], page=tmp_path / "x.html")
    with pytest.raises(SourceError, match="is a manifest: it has no layers"):
        pipeline.show(corpus.parent / "manifest", ["u0"], picture=tmp_path / "x.png")
    assert not list(tmp_path.iterdir()) and len(TEXTS) == 6


def test_a_codebook_says_how_it_was_fitted(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32))
    pipeline.fit_units(tmp_path / "frames.npy", tmp_path / "codebook", ["clusters=5", "starts=1"])
    value, lines = pipeline.show(tmp_path / "codebook", None)
    assert value["kind"] == "codebook" and value["units"] == 5
    assert any("clusters=5" in line for line in lines) and any("codebook=" in line for line in lines)
