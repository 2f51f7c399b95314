"""A layer of word times → files that other tools read: CTM, TSV, JSON, TextGrid, SRT, VTT."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from utterloom.annotations import TimedWord, write_word_files, write_words
from utterloom.annotations.writing import OF_ONE_RECORDING
from utterloom.core.errors import ConfigError, SourceError
from utterloom.shards.layers import OK, Layer
from utterloom.shards.reader import Corpus

NOT_BELIEVED = ("estimated", "implausible")


def export_words(folder: Path, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Write `out`; returns what was written, for machines and for people. Words whose times are estimated or not believed have no
    score there; rows that are not ok, and words without a time, are counted.

    Raises SourceError where the layer holds no words or its corpus is not the folder that it lies in, ConfigError for a suffix.
    """
    layer = Layer(folder)
    if layer.spec.kind != "words":
        raise SourceError(f"{folder} is a layer of {layer.spec.kind}, not of words", "name the layer that `extract words` made")
    corpus = Corpus(folder.parent)
    Layer.of(corpus, folder.name)
    by_id: dict[str, list[TimedWord]] = {}
    durations_s: dict[str, float] = {}
    counts: Counter[str] = Counter()
    rate_hz = corpus.sample_rate_hz
    for shard in corpus.shards:
        table, rows = layer.table(shard.name), corpus.table(shard.name)
        for number in range(len(table)):
            if table.status[number] != OK:
                counts["utterances not ok"] += 1
                continue
            words = table.value(number, "words") or []
            timed = [word for word in words if word["start_sample"] is not None]
            counts["words without a time"] += len(words) - len(timed)
            counts["words estimated or implausible"] += sum(word["kind"] in NOT_BELIEVED for word in timed)
            by_id[rows.id(number)] = [
                TimedWord(word["word"], word["start_sample"] / rate_hz, word["stop_sample"] / rate_hz,
                          None if word["kind"] in NOT_BELIEVED else word["score"], word["kind"]) for word in timed]
            durations_s[rows.id(number)] = float(rows.num_samples[number]) / rate_hz
    suffix = next((known for known in OF_ONE_RECORDING if out.suffix.lower() == known.lower()), None)
    if suffix is None:
        written = write_words(out, by_id, durations_s)
    elif out.is_file():
        raise ConfigError(f"{out} is a file; {suffix} files of {len(by_id)} utterances go into a folder", "choose another name")
    else:
        written = write_word_files(out, suffix, by_id, durations_s)
    counts.update(written.changes)
    counts["words that the format cannot show"] += written.left_out
    told = {what: count for what, count in counts.items() if count}
    value = {"out": str(out), "utterances": len(by_id), "words": written.count, "counts": told}
    return value, [f"{out}: {written.count:,} words of {len(by_id):,} utterances",
                   *(f"  {what}: {count:,}" for what, count in told.items())]
