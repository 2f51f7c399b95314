"""Recordings are found and opened once, before anything is decided: spans get integer samples, and what cannot be read says why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from utterloom.audio.probe import AudioInfo, probe
from utterloom.core.errors import AudioError, MissingPackageError
from utterloom.core.interrupt import interrupt_held
from utterloom.core.progress import progress
from utterloom.core.records import Drop, Span, Utterance
from utterloom.core.timing import seconds_to_samples
from utterloom.prepare.recordings import Finder
from utterloom.runners import LocalRunner

STAGE = "prepare"
PROBED_AT_ONCE = 64


def located(utterances: list[Utterance]) -> tuple[list[Utterance], dict[str, str], dict[str, str]]:
    """Utterances with the names that their recordings have on disk; {path: complaint} of those that are not there; and
    {as written: as found} of those that were found under another spelling."""
    finder = Finder()
    found = {path: finder.find(path) for path in dict.fromkeys(span.path for u in utterances for span in u.spans)}
    respelled = {wanted: path for wanted, path in found.items() if path is not None and path != wanted}
    if respelled:
        utterances = [u.with_(spans=tuple(replace(span, path=respelled.get(span.path, span.path)) for span in u.spans))
                      for u in utterances]
    return utterances, {path: finder.complaint(path) for path, there in found.items() if there is None}, respelled


def probed(utterances: list[Utterance], missing: dict[str, str], num_workers: int) -> Iterator[Utterance | Drop]:
    """Every recording is opened once, in parallel; spans get integer samples. What cannot be opened is a Drop."""
    found: dict[str, AudioInfo | str] = {path: f"missing\0{complaint}" for path, complaint in missing.items()}
    unknown = dict.fromkeys(span.path for u in utterances for span in u.spans if span.sample_rate_hz is None)
    paths = [path for path in unknown if path not in found]
    chunks = [paths[start:start + PROBED_AT_ONCE] for start in range(0, len(paths), PROBED_AT_ONCE)]
    # Starting processes takes longer than reading a few hundred headers.
    runner = LocalRunner(num_workers if len(chunks) > 8 * num_workers else 0)
    with progress("probing", len(paths), "recordings") as report:
        num_probed = 0
        for number, infos in runner.run(probe_all, chunks):
            found.update(zip(chunks[number], infos, strict=True))
            num_probed += len(infos)
            report(num_probed)
    for utterance in utterances:
        yield _with_samples(utterance, found)


def probe_all(paths: Sequence[str]) -> list[AudioInfo | str]:
    """Headers of some recordings, or why one cannot be read. Runs in a worker."""
    results: list[AudioInfo | str] = []
    for path in paths:
        try:
            with interrupt_held():
                results.append(probe(Path(path)))
        except MissingPackageError as error:
            results.append(f"needs a package\0{error.message} ({error.hint})")
        except (AudioError, OSError) as error:
            results.append(f"not readable\0{error.message if isinstance(error, AudioError) else error.strerror}")
    return results


def _with_samples(utterance: Utterance, found: dict[str, AudioInfo | str]) -> Utterance | Drop:
    if all(span.sample_rate_hz is not None and span.path not in found for span in utterance.spans):
        return utterance
    spans = []
    for span in utterance.spans:
        if span.sample_rate_hz is not None and span.path not in found:
            spans.append(span)
            continue
        info = found[span.path]
        if isinstance(info, str):
            reason, _, detail = info.partition("\0")
            return Drop(utterance.id, STAGE, f"recording {reason}", detail, None, span.path)
        rate = info.sample_rate_hz
        start = seconds_to_samples(span.start_s, rate) if span.start_s is not None else 0
        stop = seconds_to_samples(span.stop_s, rate) if span.stop_s is not None else info.num_samples
        complaint = None
        if start >= stop:
            complaint = f"it starts at {start / rate:.3f} s and ends at {stop / rate:.3f} s"
        elif start >= info.num_samples or stop > info.num_samples + rate // 100:  # a hundredth of a second of rounding is forgiven
            complaint = f"it lasts from {start / rate:.3f} s to {stop / rate:.3f} s, the recording {info.duration_s:.3f} s"
        if complaint:
            return Drop(utterance.id, STAGE, "span outside the recording", complaint, None, span.path)
        if span.channel is not None and not 0 <= span.channel < info.num_channels:
            channels = "1 channel" if info.num_channels == 1 else f"{info.num_channels} channels"
            return Drop(utterance.id, STAGE, "channel not in the recording", f"channel {span.channel + 1} is wanted and the "
                        f"recording has {channels}", (stop - start) / rate, span.path)
        spans.append(Span(span.path, start, min(stop, info.num_samples), rate, info.num_channels, span.channel))
    return utterance.with_(spans=tuple(spans))
