"""A smaller corpus on purpose: so many hours, utterances or gigabytes of it, spread over its speakers."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from utterloom.core.errors import ConfigError
from utterloom.core.records import Utterance

# Measured on packed corpora of 16 kHz: AN4 0.93, the demo's noisy voices 0.95; white noise would take 1.73. A disk budget should
# hold, so there is a margin of a third above speech; it is a reckoning, not a promise.
FLAC_BYTES_PER_SAMPLE = 1.3


def take(
    utterances: Sequence[Utterance], seed: int, hours: float | None = None, most: int | None = None,
    gigabytes: float | None = None, rate_hz: int = 16_000,
) -> list[Utterance]:
    """At most so much of `utterances`, in their order; whoever speaks least is heard first.

    In each round every speaker gives one utterance, drawn without putting back (E-P10: a sampler that put them back made
    220,000 utterances of 1,040); rounds go on until the budget is full or everything is taken. An utterance that no longer
    fits is passed over. Without a speaker, the recording stands in for one. Depends on the seed and the ids alone, not on
    the order of the source. `gigabytes` reckons with FLAC of `rate_hz`, mono.

    Raises ConfigError where nothing fits.
    """
    if not utterances:
        return []
    budget_s = min(
        3600 * hours if hours is not None else float("inf"),
        1e9 * gigabytes / (rate_hz * FLAC_BYTES_PER_SAMPLE) if gigabytes is not None else float("inf"),
    )
    most = len(utterances) if most is None else most
    voices: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
    for number, utterance in enumerate(utterances):
        voices[_voice(utterance)].append((_draw(seed, utterance.id), number))
    turns = sorted(
        (turn, draw, number) for drawn in voices.values() for turn, (draw, number) in enumerate(sorted(drawn))
    )
    taken: list[int] = []
    taken_s = 0.0
    shortest_s = min(u.duration_s for u in utterances)
    for _, _, number in turns:
        if len(taken) >= most or taken_s + shortest_s > budget_s:
            break
        duration_s = utterances[number].duration_s
        if taken_s + duration_s <= budget_s:
            taken.append(number)
            taken_s += duration_s
    if not taken:
        raise ConfigError("nothing fits the sample", f"the shortest of {len(utterances):,} utterances lasts {shortest_s:.2f} s")
    return [utterances[number] for number in sorted(taken)]


def _voice(utterance: Utterance) -> str:
    return f"speaker {utterance.speaker}" if utterance.speaker else f"recording {utterance.spans[0].path}"


def _draw(seed: int, utterance_id: str) -> bytes:
    """A place in the order that this utterance has in every source and on every machine."""
    return hashlib.blake2b(f"{seed}\0{utterance_id}".encode(), digest_size=8).digest()
