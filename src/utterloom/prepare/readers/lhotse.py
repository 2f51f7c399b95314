"""`prepare lhotse PATH`: Lhotse manifests, read by lhotse itself, so that what any of its recipes prepares can be read: cuts, or
recordings with supervisions; one file, or a folder of them, one part for each split.

A supervision is an utterance, of the channel that it names; one of all channels is of their mix, and what has no supervision is
unlabelled. Only audio that lies in files, unaltered, is what the manifest says it is: commands, data inside of manifests, some
channels of several, mixtures and augmented copies are drops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from utterloom.core.errors import MissingPackageError, SourceError
from utterloom.core.log import log
from utterloom.core.records import SPLITS, Drop, Span, Utterance
from utterloom.prepare.readers.corpus_files import STAGE, Hints, PathRoot, digest, kind_of, known, split_named_in, transcript

SUFFIXES = (".jsonl.gz", ".jsonl", ".json.gz", ".json", ".yaml.gz", ".yaml")
RECORDINGS, SUPERVISIONS, CUTS = "recordings", "supervisions", "cuts"
TO_THE_END_S = 0.001  # two ways to round the end of a recording
NOT_ONE_RECORDING = {"MixedCut": "mixture", "PaddingCut": "padding"}
CUT_OF_A_RECORDING = ("MonoCut", "MultiCut")
HARMLESS = ("Resample",)  # audio is resampled when it is packed, seconds stay what they are


class LhotseReader:
    """Ids, speakers and languages are those of supervisions; gender and custom values are attributes."""

    def fingerprint(self, source: Path) -> str:
        return digest(*(path for part in _parts(source) for path in part))

    def read(self, source: Path) -> Iterator[Utterance | Drop]:
        for part in _parts(source):
            split, root = split_named_in(_stem(part[0])), PathRoot(part[0].parent)
            if len(part) == 1:
                yield from _of_cuts(_load(part[0], "CutSet"), root, split)
            else:
                yield from _of_recordings(_load(part[0], "RecordingSet"), _load(part[1], "SupervisionSet"), root, split)


def _stem(path: Path) -> str:
    return next((path.name[:-len(suffix)] for suffix in SUFFIXES if path.name.endswith(suffix)), path.stem)


def _parts(source: Path) -> list[tuple[Path, ...]]:
    """(cuts,) or (recordings, supervisions) by the names that lhotse gives its files; test and dev first, so that what is in
    several parts is not trained on. Raises SourceError where nothing of them is there, or a half is missing."""
    kind = kind_of(source)
    if kind == "folder":
        files = sorted(path for path in source.iterdir() if path.is_file() and path.name.endswith(SUFFIXES))
    elif kind == "file":
        files = [source]
    else:
        raise SourceError(f"there is neither a file nor a folder {source}", "give a Lhotse manifest, or the folder of several")
    found: dict[str, tuple[Path, ...]] = {}
    for path in files:
        half = next((half for half in (RECORDINGS, SUPERVISIONS) if half in path.name), CUTS)
        key = path.name.replace(half, "*")
        if half == CUTS:
            if CUTS in path.name or kind == "file":
                found.setdefault(key, (path,))
            continue
        pair = tuple(path.with_name(path.name.replace(half, other)) for other in (RECORDINGS, SUPERVISIONS))
        missing = next((other for other in pair if not other.is_file()), None)
        if missing is not None:
            raise SourceError(f"{path} has no {missing.name} beside it", "Lhotse writes recordings and supervisions in pairs")
        if len(found.get(key, pair)) == 1:
            log.info(f"{found[key][0].name} is made from {pair[0].name} and {pair[1].name}, which are read in its place")
        found[key] = pair
    if not found:
        raise SourceError(f"{source} holds no Lhotse manifests",
                          f"files named *{CUTS}*, or *{RECORDINGS}* with *{SUPERVISIONS}*, ending in {', '.join(SUFFIXES)}")
    order = {split: number for number, split in enumerate(reversed(SPLITS))}
    return sorted(found.values(), key=lambda part: (order.get(split_named_in(_stem(part[0])) or "", len(order)), part[0].name))


def _load(path: Path, wanted: str) -> Iterable[Any]:
    """Items one by one. Raises SourceError for what lhotse cannot read or takes for something else."""
    try:
        from lhotse.serialization import load_manifest_lazy_or_eager
    except ImportError as error:
        raise MissingPackageError(error.name or "lhotse", "kaldi", "reading Lhotse manifests") from None
    try:
        manifest = load_manifest_lazy_or_eager(path)
        if manifest is not None and type(manifest).__name__ != wanted:
            raise SourceError(f"{path} is a {type(manifest).__name__} where a {wanted} belongs",
                              "give cuts, or recordings with supervisions beside them")
        yield from manifest or ()
    except SourceError:
        raise
    except Exception as error:  # of parsers, of checks by assertion, of missing codecs
        raise SourceError(f"lhotse cannot read {path}: {type(error).__name__}: {error}") from None


def _of_recordings(
    recordings: Iterable[Any], supervisions: Iterable[Any], root: PathRoot, split: str | None
) -> Iterator[Utterance | Drop]:
    by_id = {recording.id: recording for recording in recordings}
    hints, spoken = Hints(by_id), set()
    for supervision in supervisions:
        recording = by_id.get(supervision.recording_id)
        spoken.add(supervision.recording_id)
        if recording is None:
            near = hints.near(str(supervision.recording_id))
            yield Drop(supervision.id, STAGE, "no recording", f"there is no recording {supervision.recording_id!r}{near}",
                       supervision.duration)
        else:
            yield _item(supervision.id, recording, supervision.start, supervision.duration, supervision, root, split)
    for name, recording in by_id.items():
        if name not in spoken:
            yield _item(name, recording, 0.0, recording.duration, None, root, split)


def _of_cuts(cuts: Iterable[Any], root: PathRoot, split: str | None) -> Iterator[Utterance | Drop]:
    for cut in cuts:
        kind = type(cut).__name__
        is_one = kind in CUT_OF_A_RECORDING
        if not is_one or not cut.has_recording:
            detail = "the cut has features only" if is_one else f"it is a {kind}, not a stretch of one recording"
            for name in [supervision.id for supervision in cut.supervisions] or [cut.id]:
                yield Drop(name, STAGE, NOT_ONE_RECORDING.get(kind, "no recording"), detail, cut.duration)
            continue
        for supervision in cut.supervisions:
            start_s = cut.start + supervision.start
            yield _item(supervision.id, cut.recording, start_s, supervision.duration, supervision, root, split)
        if not cut.supervisions:
            yield _item(cut.id, cut.recording, cut.start, cut.duration, None, root, split, cut.channel)


def _item(
    name: str, recording: Any, start_s: float, duration_s: float, supervision: Any, root: PathRoot, split: str | None,
    channels: Any = None,
) -> Utterance | Drop:
    """`channels` is the number or the numbers of those that are meant, where no supervision says it; None is all of them."""
    channels = getattr(supervision, "channel", channels)
    wanted = sorted(recording.channel_ids if channels is None else {channels} if isinstance(channels, int) else set(channels))
    complaint = _complaint(recording, wanted)
    if complaint is None and (start_s < 0 or duration_s <= 0):
        complaint = "bad row", f"it starts at {start_s:.3f} s and lasts {duration_s:.3f} s"
    if complaint:
        return Drop(name, STAGE, *complaint, duration_s if duration_s > 0 else None)
    stop_s: float | None = start_s + duration_s
    if abs(start_s + duration_s - recording.duration) < TO_THE_END_S:
        stop_s = None
    (source,) = (one for one in recording.sources if set(wanted) <= set(one.channels))
    channel = source.channels.index(wanted[0]) if len(wanted) < len(source.channels) else None
    attributes = {"gender": getattr(supervision, "gender", None), **(getattr(supervision, "custom", None) or {})}
    return Utterance(
        id=name, text=transcript(getattr(supervision, "text", None)), split=split,
        spans=(Span(root.full(source.source), start_s=start_s or None, stop_s=stop_s, channel=channel),),
        speaker=known(getattr(supervision, "speaker", None)), language=known(getattr(supervision, "language", None)),
        attributes={key: str(value) for key, value in attributes.items()
                    if isinstance(value, str | int | float) and known(value)})


def _complaint(recording: Any, wanted: list[int]) -> tuple[str, str] | None:
    """Why the audio of these channels is not simply in a file; None where it is."""
    other = next((source.type for source in recording.sources if source.type != "file"), None)
    if other:
        return f"audio of type {other}", f"recording {recording.id!r} is no file; save it as one"
    if missing := sorted(set(wanted) - set(recording.channel_ids)):
        return "no such channel", f"recording {recording.id!r} has the channels {recording.channel_ids}, not {missing}"
    holding = [source for source in recording.sources if set(wanted) <= set(source.channels)]
    if len(holding) != 1:
        return "several files", f"the channels {wanted} of recording {recording.id!r} lie in {len(recording.sources)} files"
    if 1 < len(wanted) < len(holding[0].channels):
        return "some channels of several", f"{wanted} of {holding[0].channels} in recording {recording.id!r}; split them into files"
    names = [one["name"] if isinstance(one, dict) else type(one).__name__ for one in recording.transforms or ()]
    altered = [name for name in names if name not in HARMLESS]
    return ("altered recording", f"{', '.join(altered)} of {recording.id!r} would have to be applied") if altered else None
