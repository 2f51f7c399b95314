"""When each word is spoken: of the reference text by forced alignment, as a model hears it, or as files say it.

A row keeps what was timed in `text`: the reference for `align` and `import`, what was heard for `asr`, so that the two are never
taken for one another (A-P2). `score` is the geometric mean probability of its words' frames, `flag` says what is not to be believed
of it, words have characters of the raw text where it is the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utterloom.annotations import TimedWord, read_words
from utterloom.core.artifact import fingerprint, sha256_of
from utterloom.core.errors import ConfigError, CorpusError, SourceError
from utterloom.extract.alignment.borders import powers
from utterloom.extract.alignment.text import Script, script_of
from utterloom.extract.config import WordsConfig
from utterloom.extract.contract import Extractor, Item, Plan
from utterloom.shards.layers import EMPTY, OK, LayerRow, LayerSpec
from utterloom.shards.reader import Corpus
from utterloom.text.normalisers import Normaliser, normaliser

NAME = "words"
IMPORTED, HEARD = "imported", "heard"
MOST_FLAGGED = 3
SPELLING = ("tokenizer", "vocab", "special_tokens", "added_tokens")  # how the files that spell a text begin


class WordsExtractor:
    """The kind; `open` gives the extractor of the source that is asked for."""

    SCHEMA = WordsConfig

    @classmethod
    def plan(cls, config: WordsConfig, corpus: Corpus) -> Plan:
        """Raises ConfigError where a source lacks its model or files, SourceError where they are not there."""
        if config.source == "import":
            if config.files is None:
                raise ConfigError("source=import needs files=…", "a CTM file, a folder of TextGrids, or JSON")
            return Plan(NAME, {"files_fingerprint": _files_fingerprint(Path(config.files))})
        if config.model is None:
            raise ConfigError(f"source={config.source} needs model=…",
                              "a run of yours, a folder, or a model of the Hub: facebook/wav2vec2-base-960h for English")
        from utterloom.models.hub import model_files

        files = model_files(config.model, config.revision)
        _check_model(files, config.source)
        spelling = sorted(path for path in files.folder.iterdir() if path.name.startswith(SPELLING) and path.is_file())
        identity: dict[str, Any] = {"model_fingerprint": files.fingerprint(),
                                    "spelling_fingerprint": fingerprint([[path.name, sha256_of(path)] for path in spelling])}
        if config.source == "align" and config.view is not None:
            identity["view"] = normaliser(config.view).view
        return Plan(NAME if config.source == "align" else f"{NAME}.{files.short_name.lower()}", identity)

    @classmethod
    def open(cls, config: WordsConfig, corpus: Corpus) -> Extractor:
        """Raises SourceError where the model cannot be opened."""
        kinds = {"align": Aligner, "asr": Hearer, "import": Importer}
        return kinds[config.source](config, corpus)


class Aligner:
    """Forced alignment of the reference text with a CTC model."""

    layers: Sequence[str] = ()
    default_batch = 120.0

    def __init__(self, config: WordsConfig, corpus: Corpus) -> None:
        from utterloom.extract.alignment.words import Limits
        from utterloom.extract.extractors.device import device_for
        from utterloom.models.emissions import CTCEmitter

        assert config.model is not None
        self.config = config
        self.emitter = CTCEmitter.open(config.model, config.revision, device_for(config.device), chunk_s=config.chunk_s,
                                       overlap_s=config.overlap_s, is_fetched=True)
        self.sample_rate_hz: int | None = self.emitter.sample_rate_hz
        self.view = _view(config.view, self.emitter.view, corpus)
        self.limits = Limits(config.longest_word_s, config.least_score)
        self.offset_s = config.offset_ms / 1000
        grid = self.emitter.grid
        self.spec = LayerSpec("words", {
            "source": "forced alignment", "model": config.model, "view": self.view.view, "frame_ms": 1000 * grid.frame_s,
            "offset_ms": config.offset_ms, "borders": config.borders})

    def size(self, item: Item) -> float:
        """Seconds."""
        return item.duration_s

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        """One row for each; without a text, or where nothing of it can be aligned, it says why."""
        scripts = [None if item.text is None else script_of(item.text, self.view.rewrite) for item in items]
        wanted = [number for number, script in enumerate(scripts) if script is not None and script.written]
        emissions = self.emitter.emissions([_samples(items[number]) for number in wanted]) if wanted else []
        found = dict(zip(wanted, emissions, strict=True))
        return [self._row(items[number], scripts[number], found.get(number)) for number in range(len(items))]

    def _row(self, item: Item, script: Script | None, log_probs_tv: Any) -> LayerRow:
        from utterloom.extract.alignment.viterbi import NoAlignmentError
        from utterloom.extract.alignment.words import IMPLAUSIBLE, align

        if script is None or log_probs_tv is None or not script.written:
            return LayerRow(EMPTY, "no text: the utterance has no transcript" if item.text is None else "no text: it has no words")
        stars = range(len(script.spoken) + 1) if self.config.star else ()
        scores = None if self.emitter.shift is None else log_probs_tv + self.emitter.shift
        power_t = powers(_samples(item), self.emitter.sample_rate_hz) if self.config.borders == "energy" else None
        try:
            found = align(log_probs_tv, script, self.emitter.spelling, self.emitter.blank, self.emitter.grid, item.num_samples,
                          item.sample_rate_hz, self.limits, stars, self.offset_s, scores, power_t)
        except NoAlignmentError as error:
            return LayerRow.failed(f"not alignable: {error}")
        doubted = [word for word in found.words if word.kind == IMPLAUSIBLE]
        flag = None
        if doubted:
            listed = ", ".join(repr(word.text) for word in doubted[:MOST_FLAGGED])
            more = f" and {len(doubted) - MOST_FLAGGED} more" if len(doubted) > MOST_FLAGGED else ""
            flag = f"implausible: {len(doubted)} of {len(found.words)} words last too long or score too low: {listed}{more}"
        elif not found.is_proved:
            flag = "not proved: a better path may exist"
        return LayerRow(OK, flag, None, {"text": item.text, "score": found.score, "flag": flag,
                                         "words": [word.row() for word in found.words]})


class Hearer:
    """What a model hears, and when: Parakeet TDT, which times its own tokens."""

    layers: Sequence[str] = ()
    default_batch = 120.0

    def __init__(self, config: WordsConfig, corpus: Corpus) -> None:
        from utterloom.extract.extractors.device import device_for
        from utterloom.models.parakeet import ParakeetTdt

        assert config.model is not None
        self.model = ParakeetTdt.open(config.model, config.revision, device_for(config.device), chunk_s=config.chunk_s,
                                      overlap_s=config.overlap_s, is_fetched=True)
        self.sample_rate_hz: int | None = self.model.sample_rate_hz
        self.spec = LayerSpec("words", {"source": "heard", "model": config.model})

    def size(self, item: Item) -> float:
        """Seconds."""
        return item.duration_s

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        """One row for each: what was heard is its `text`."""
        rows = []
        for item, heard in zip(items, self.model.hear([_samples(item) for item in items]), strict=True):
            if heard.failed is not None:
                rows.append(LayerRow.failed(heard.failed))
                continue
            if not heard.words:
                rows.append(LayerRow(EMPTY, "nothing heard: the model gives no words", None, {"text": heard.text}))
                continue
            words = [_row_of(TimedWord(*word), item, HEARD) for word in heard.words]
            lengths = [word.end_s - word.start_s for word in heard.words]
            score = float(np.exp(np.average(np.log([word.score for word in heard.words]), weights=lengths)))
            rows.append(LayerRow(OK, None, None, {"text": heard.text, "score": score, "flag": None, "words": words}))
        return rows


class Importer:
    """Times that somebody else made. What they say of a word that is not in the text, or of no word, is a failed row."""

    layers: Sequence[str] = ()
    default_batch = 3600.0
    sample_rate_hz: int | None = None

    def __init__(self, config: WordsConfig, corpus: Corpus) -> None:
        assert config.files is not None
        path = Path(config.files)
        self.read = read_words(path)
        self.faults: dict[str, list[str]] = {}
        for fault in self.read.faults:
            self.faults.setdefault(fault.id, []).append(f"{fault.reason} ({fault.where}: {fault.detail})")
        self.spec = LayerSpec("words", {"source": "imported", "files": path.name})

    def size(self, item: Item) -> float:
        """Seconds."""
        return item.duration_s

    def extract(self, items: Sequence[Item]) -> list[LayerRow]:
        """One row for each."""
        return [self._row(item) for item in items]

    def _row(self, item: Item) -> LayerRow:
        words = self.read.by_id.get(item.id)
        faults = self.faults.get(item.id, [])
        if not words:
            return LayerRow.failed(f"bad times: {faults[0]}") if faults else LayerRow(EMPTY, "no times: the files do not name it")
        late = [word for word in words if round(word.end_s * item.sample_rate_hz) > item.num_samples + item.sample_rate_hz // 100]
        if late:
            return LayerRow.failed(f"bad times: {late[0].word!r} ends at {late[0].end_s:g} s of {item.duration_s:g} s")
        rows = [_row_of(word, item, IMPORTED) for word in words]
        _place(rows, item.text)
        flag = f"bad times: {len(faults)} words are left out, such as {faults[0]}" if faults else None
        return LayerRow(OK, flag, None, {"text": item.text, "score": None, "flag": flag, "words": rows})


def _check_model(files: Any, source: str) -> None:
    """Raises SourceError where a model is asked for what it does not do."""
    from utterloom.models.hub import load_config
    from utterloom.models.parakeet import is_tdt

    config = load_config(files)
    if source == "asr" and not is_tdt(config):
        raise SourceError(f"model {files.name} is of the kind {config.model_type!r}, which does not time what it hears",
                          "source=asr takes a Parakeet TDT model; source=align takes CTC models")
    if source == "align" and is_tdt(config):
        raise SourceError(f"model {files.name} is a Parakeet TDT model: it times what it hears, and aligns no text",
                          "source=asr, or a CTC model")


def _samples(item: Item) -> Any:
    assert item.samples is not None
    return item.samples


def _row_of(word: TimedWord, item: Item, kind: str) -> dict[str, Any]:
    rate_hz = item.sample_rate_hz
    start, stop = (min(item.num_samples, round(at_s * rate_hz)) for at_s in (word.start_s, word.end_s))
    return {"word": word.word, "start_sample": start, "stop_sample": stop, "score": word.score, "kind": kind,
            "first_char": None, "stop_char": None, "chars": []}


def _place(rows: Sequence[dict[str, Any]], text: str | None) -> None:
    """Where words stand in the raw text, where they are those of the text: in order, alike but for case and signs."""
    if text is None:
        return
    from rapidfuzz.distance import Levenshtein

    script = script_of(text, str)
    ours, theirs = [_bare(word.text) for word in script.written], [_bare(row["word"]) for row in rows]
    for step in Levenshtein.opcodes(theirs, ours):
        if step.tag == "equal":
            for offset in range(step.src_end - step.src_start):
                written = script.written[step.dest_start + offset]
                rows[step.src_start + offset] |= {"first_char": written.first_char, "stop_char": written.stop_char}


def _bare(word: str) -> str:
    return "".join(character for character in word.casefold() if character.isalnum()) or word


def _view(wanted: str | None, of_model: str | None, corpus: Corpus) -> Normaliser:
    """How words are spoken. Raises CorpusError where nobody says."""
    of_corpus = next(iter((corpus.card["views"] or {}).values()), None)
    name = wanted or of_model or of_corpus
    if name is None:
        raise CorpusError(f"{corpus.url} has no text view, and the model names none", "view=basic, or the language's own")
    return normaliser(name)


def _files_fingerprint(path: Path) -> str:
    if not path.exists():
        raise ConfigError(f"files={str(path)!r} is not there")
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return fingerprint([[file.name, sha256_of(file)] for file in files])

