"""What samples say of themselves, gathered block by block: levels, clipping, spectrum, voice activity, hashes.

Everything here is streaming but for 4 bytes per 10 ms of sound and 36 per 16 ms; the same samples in other blocks give the same
answer.
Shapes: samples_sc is float32 [samples, channels], mono_s float32 [samples], level_db_f float32 [10 ms frames].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

FRAMES_PER_S = 100
SILENCE_DB = -120.0  # of a frame that holds nothing: below a 24-bit converter's noise
FULL_SCALE = 32_700 / 32_768  # 16-bit converters that clip give 32767, and some 32700 and a little
SHORTEST_CLIP_SAMPLES = 3  # a peak may touch full scale once or twice without harm
FLAT_TOP = 0.999  # of the peak: two speakers' loudest moments do not agree to a thousandth, a limiter's do
MOST_TOPS = 100_000  # samples at the peak that are remembered

# The fingerprint's picture of a whole clip: what telephones pass, so that a copy from one is still known.
PICTURE_EDGES_HZ = np.geomspace(200.0, 3400.0, 10)
PICTURE_TIMES, PICTURE_BANDS = 33, len(PICTURE_EDGES_HZ) - 1
PICTURE_DEPTH_DB = 45.0  # what is further below the loudest is taken for silence
FINGERPRINT_BITS = (PICTURE_TIMES - 1) * (PICTURE_BANDS - 1)
FINGERPRINT_BYTES = FINGERPRINT_BITS // 8
SURE_DB = 1.5  # a bit whose contrast is smaller may come out either way
MIN_FINGERPRINT_S = 0.5

SPECTRUM_DEPTH_DB = 65.0  # speech reaches as high as its mean spectrum stays within this of its own peak
SPECTRUM_STEP_HZ = 100
QUANTISATION_MARGIN_DB = 10.0


def decibels(power: float) -> float:
    """A mean square as dB of full scale, not below SILENCE_DB."""
    return float(max(SILENCE_DB, 10 * np.log10(power))) if power > 0 else SILENCE_DB


@dataclass(frozen=True, slots=True)
class Acoustics:
    """What `Listener.finish` gives; the fields are explained in `measure.Measured`."""

    num_samples: int
    content_hash: str
    fingerprint: bytes | None
    words_s: float | None
    level_db_f: np.ndarray
    peak: float
    level_dbfs: float
    dc_offset: float
    mono_loss_db: float
    num_clipped_samples: int
    longest_clip_samples: int
    num_flat_tops: int
    bandwidth_hz: int | None


class Listener:
    """Takes a recording's samples block after block; `num_samples` is how many will come, as far as is known."""

    def __init__(self, sample_rate_hz: int, num_channels: int, num_samples: int, bits: int | None) -> None:
        self._rate_hz, self._bits = sample_rate_hz, bits
        self._num_planned, self._num_samples = num_samples, 0
        self._hashes = [hashlib.blake2b(digest_size=16)]  # one for all channels while they are equal
        self._sum, self._square = 0.0, 0.0
        self._channel_square = 0.0  # mean over channels
        self._peak = 0.0
        self._tops = np.empty(0, np.int64)  # where the amplitude is within FLAT_TOP of the peak so far
        self._tops_amplitude = np.empty(0, np.float32)
        self._run, self._longest_run, self._num_clipped = 0, 0, 0
        self._frame_samples = max(1, round(sample_rate_hz / FRAMES_PER_S))
        self._levels: list[np.ndarray] = []
        self._rest_s = np.empty(0, np.float32)  # of a 10 ms frame
        self._hop_samples = max(1, round(0.016 * sample_rate_hz))
        window = np.hanning(2 * self._hop_samples + 2)[1:-1]
        self._window = (window / np.sqrt((window**2).sum())).astype(np.float32)
        self._overlap_s = np.empty(0, np.float32)  # of a spectral frame
        self._spectrum = np.zeros(self._hop_samples + 1)
        self._num_spectra = 0
        edges = np.searchsorted(np.fft.rfftfreq(2 * self._hop_samples, 1 / sample_rate_hz), PICTURE_EDGES_HZ)
        self._band_edges = edges if edges[-1] < self._hop_samples and np.all(np.diff(edges) > 0) else None
        self._bands: list[np.ndarray] = []  # float32 [spectral frames, PICTURE_BANDS]

    def hear(self, samples_sc: np.ndarray) -> None:
        """The next samples; they are finite."""
        if not len(samples_sc):
            return
        channels_cs = np.ascontiguousarray(samples_sc.T)  # sums over two channels are six times as fast this way round
        mono_s = channels_cs.mean(axis=0) if len(channels_cs) > 1 else channels_cs[0]
        self._add_to_hashes(channels_cs)
        self._sum += float(mono_s.sum(dtype=np.float64))
        self._square += float(np.dot(mono_s, mono_s))
        self._channel_square += float(np.mean([np.dot(channel_s, channel_s) for channel_s in channels_cs]))
        self._add_to_peaks(np.abs(channels_cs).max(axis=0))
        self._add_to_levels(mono_s)
        self._add_to_spectrum(mono_s)
        self._num_samples += len(samples_sc)

    def finish(self) -> Acoustics:
        """The answer for all samples heard. There must have been one."""
        count = self._num_samples
        if not count:
            raise ValueError("a listener that heard nothing has nothing to say")
        if len(self._rest_s):
            self._levels.append(_levels_db(self._rest_s[None]))
        fingerprint, words_s = self._fingerprint() or (None, None)
        mean = self._sum / count
        level_db = decibels(self._square / count - mean**2)
        channels_db = decibels(self._channel_square / count)
        return Acoustics(
            num_samples=count,
            content_hash=hashlib.blake2b(b"".join(one.digest() for one in self._hashes), digest_size=16).hexdigest(),
            fingerprint=fingerprint, words_s=words_s, level_db_f=np.concatenate(self._levels), peak=self._peak, level_dbfs=level_db,
            dc_offset=mean, mono_loss_db=round(max(0.0, channels_db - decibels(self._square / count)), 2),
            num_clipped_samples=self._num_clipped, longest_clip_samples=self._longest_run,
            num_flat_tops=self._num_flat_tops(), bandwidth_hz=self._bandwidth_hz())

    def _add_to_hashes(self, channels_cs: np.ndarray) -> None:
        """Of the samples as float32, so that WAV, FLAC and AIFF of the same samples agree; of one channel where all are equal."""
        exact_cs = channels_cs + np.float32(0)  # −0 becomes 0
        if len(self._hashes) == 1 and not (exact_cs[1:] == exact_cs[0]).all():
            self._hashes = [self._hashes[0].copy() for _ in exact_cs]  # up to here they were the same
        for hash_of_channel, channel_s in zip(self._hashes, exact_cs, strict=False):
            hash_of_channel.update(channel_s.data)

    def _add_to_peaks(self, amplitude_s: np.ndarray) -> None:
        self._peak = max(self._peak, float(amplitude_s.max()))
        self._add_to_tops(amplitude_s)
        is_full = amplitude_s >= FULL_SCALE
        if not is_full.any():
            self._end_run()
            return
        edges = np.flatnonzero(np.diff(np.concatenate(([0], is_full.astype(np.int8), [0]))))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if start > 0:
                self._end_run()
            self._run += stop - start
        if edges[-1] < len(amplitude_s):
            self._end_run()

    def _end_run(self) -> None:
        if self._run >= SHORTEST_CLIP_SAMPLES:
            self._num_clipped += self._run
        self._longest_run = max(self._longest_run, self._run)
        self._run = 0

    def _add_to_tops(self, amplitude_s: np.ndarray) -> None:
        least = np.float32(FLAT_TOP * self._peak)
        new = np.flatnonzero(amplitude_s >= least)
        kept = self._tops_amplitude >= least
        self._tops = np.concatenate((self._tops[kept], new + self._num_samples))[:MOST_TOPS]
        self._tops_amplitude = np.concatenate((self._tops_amplitude[kept], amplitude_s[new]))[:MOST_TOPS]

    def _num_flat_tops(self) -> int:
        """How often three or more samples in a row are at the peak. Once or twice in speech; again and again where the wave was
        clipped, also when it was made quieter since. A lossy codec's ripple hides it: full scale is what tells then."""
        self._end_run()
        if self._peak <= 0 or not len(self._tops):
            return 0
        starts = np.flatnonzero(np.diff(self._tops, prepend=self._tops[0] - 2) > 1)
        lengths = np.diff(np.append(starts, len(self._tops)))
        return int(np.count_nonzero(lengths >= SHORTEST_CLIP_SAMPLES))

    def _add_to_levels(self, mono_s: np.ndarray) -> None:
        rest_s = np.concatenate((self._rest_s, mono_s))
        num_whole = len(rest_s) // self._frame_samples
        cut = num_whole * self._frame_samples
        if num_whole:
            self._levels.append(_levels_db(rest_s[:cut].reshape(num_whole, -1)))
        self._rest_s = rest_s[cut:].copy()

    def _add_to_spectrum(self, mono_s: np.ndarray) -> None:
        joined_s = np.concatenate((self._overlap_s, mono_s))
        num_frames = len(joined_s) // self._hop_samples - 1
        if num_frames > 0:
            frames_fs = np.lib.stride_tricks.sliding_window_view(joined_s, 2 * self._hop_samples)[:: self._hop_samples]
            spectra_fk = np.fft.rfft(frames_fs * self._window, axis=1)
            power_fk = spectra_fk.real**2 + spectra_fk.imag**2
            self._spectrum += power_fk.sum(axis=0, dtype=np.float64)
            if self._band_edges is not None:
                bands_fb = np.add.reduceat(power_fk, self._band_edges, axis=1)[:, :-1]
                self._bands.append(bands_fb.astype(np.float32))
            self._num_spectra += len(power_fk)
            joined_s = joined_s[num_frames * self._hop_samples:]
        self._overlap_s = joined_s.copy()

    def _fingerprint(self) -> tuple[bytes, float] | None:
        """FINGERPRINT_BYTES of signs, then as many of which signs are sure, and how many seconds they are of; None for what is too
        short or holds nothing.

        The picture is the energy in 33 equal times × 9 bands, from the first loud moment to the last: how much silence a copy keeps
        around the words, and what an encoder pads, makes no difference. A bit is the sign of how the contrast of two neighbouring
        bands changes from one time to the next: the feature of Haitsma and Kalker (2002), here over the whole clip, since a near
        duplicate is the same clip and not a part of it. Gain cancels out. Each byte is one time.
        """
        if self._num_samples < MIN_FINGERPRINT_S * self._rate_hz or self._num_spectra < PICTURE_TIMES or not self._bands:
            return None
        power_fb = np.concatenate(self._bands).astype(np.float64)
        first, stop = _loud_extent(power_fb.sum(axis=1))
        total_fb = np.concatenate((np.zeros((1, PICTURE_BANDS)), np.cumsum(power_fb, axis=0)))
        # Between frames, energy is divided in proportion.
        missing = max(0.0, PICTURE_TIMES - (stop - first)) / 2
        edges = np.clip(np.linspace(first - missing, stop + missing, PICTURE_TIMES + 1), 0, self._num_spectra)
        frames = np.arange(self._num_spectra + 1)
        power = np.stack([np.diff(np.interp(edges, frames, total_f)) for total_f in total_fb.T], axis=1)
        power /= np.maximum(np.diff(edges), 1e-9)[:, None]
        if power.max() <= 10 ** (SILENCE_DB / 10):
            return None
        picture_db = 10 * np.log10(power + power.max() * 10 ** (-PICTURE_DEPTH_DB / 10))
        contrast_db = np.diff(np.diff(picture_db, axis=1), axis=0).ravel()
        is_sure = np.abs(contrast_db) >= SURE_DB
        signs = np.packbits((contrast_db > 0) & is_sure).tobytes() + np.packbits(is_sure).tobytes()
        return signs, (stop - first) * self._hop_samples / self._rate_hz

    def _bandwidth_hz(self) -> int | None:
        """Up to where the mean spectrum stays within SPECTRUM_DEPTH_DB of its peak and above the noise of its own bits."""
        if not self._num_spectra:
            return None
        density_k = self._spectrum / self._num_spectra
        bins_per_step = max(1, round(SPECTRUM_STEP_HZ * 2 * self._hop_samples / self._rate_hz))
        num_steps = (len(density_k) - 1) // bins_per_step
        density = density_k[1:num_steps * bins_per_step + 1].reshape(num_steps, bins_per_step).mean(axis=1)
        if density.max() <= 0:
            return None
        floor = density.max() * 10 ** (-SPECTRUM_DEPTH_DB / 10)
        if self._bits is not None:  # rounding to steps of 2^(1−bits) is white noise of variance step²/12
            floor = max(floor, 2.0 ** (2 * (1 - self._bits)) / 12 * 10 ** (QUANTISATION_MARGIN_DB / 10))
        above = np.flatnonzero(density >= floor)
        step_hz = bins_per_step * self._rate_hz / (2 * self._hop_samples)
        return min(self._rate_hz // 2, round((above[-1] + 1) * step_hz)) if len(above) else None


def _levels_db(frames_fs: np.ndarray) -> np.ndarray:
    """The level of each frame, its own mean taken out so that a DC offset is no sound."""
    power_f = frames_fs.var(axis=1, dtype=np.float64)
    level_db_f: np.ndarray = np.maximum(SILENCE_DB, 10 * np.log10(np.maximum(power_f, 1e-13))).astype(np.float32)
    return level_db_f


# ------------------------------------------------------------------------------------------------------ voice activity

FLOOR_WINDOW_FRAMES = 10 * FRAMES_PER_S
FLOOR_PERCENTILE, SPEECH_PERCENTILE = 10, 95
MIN_DYNAMICS_DB = 8.0  # a steady noise moves by 3 dB, speech by 20
LOWEST_SPEECH_DB = -65.0  # quieter than this is nothing that anybody meant to record
LONGEST_GAP_FRAMES = 20  # closures of plosives are inside speech
SHORTEST_BURST_FRAMES = 5  # clicks are not


def voice_activity(level_db_f: np.ndarray) -> np.ndarray:
    """bool [10 ms frames]: where somebody speaks, by energy alone.

    The noise floor is the tenth percentile of the levels in stretches of ten seconds (no more than 10 dB above the quietest
    stretch, so that speech without a pause does not become its own floor). The speech level is the 95th percentile of a stretch,
    in the median of those stretches in which it is far from the floor: a minute of speech in an hour is found.

    A frame is active when it is more than 6 dB and more than 35 % of the way from floor to speech above the floor. Gaps up to
    0.2 s are filled, bursts below 0.05 s removed. Where floor and speech are less than MIN_DYNAMICS_DB apart, or speech is below
    LOWEST_SPEECH_DB, nothing is: steady noise, hum and silence do not move as speech does. Music and other people's voices do.
    """
    speech_db, floor_db_f = levels_of(level_db_f)
    is_active = level_db_f > floor_db_f + np.maximum(6.0, 0.35 * (speech_db - floor_db_f))
    if speech_db < LOWEST_SPEECH_DB or speech_db - float(floor_db_f.min()) < MIN_DYNAMICS_DB:
        return np.zeros(len(level_db_f), bool)
    is_active = ~_without_short_runs(~is_active, LONGEST_GAP_FRAMES, at_the_ends=False)
    return _without_short_runs(is_active, SHORTEST_BURST_FRAMES, at_the_ends=True)


def levels_of(level_db_f: np.ndarray) -> tuple[float, np.ndarray]:
    """The speech level, and the noise floor of each frame; see `voice_activity`."""
    num_windows = max(1, len(level_db_f) // FLOOR_WINDOW_FRAMES)
    windows = np.array_split(level_db_f, num_windows)
    floors, tops = np.array([np.percentile(window, (FLOOR_PERCENTILE, SPEECH_PERCENTILE)) for window in windows]).T
    floors = np.minimum(floors, floors.min() + 10.0)
    moves = tops - floors >= MIN_DYNAMICS_DB
    speech_db = float(np.median(tops[moves] if moves.any() else tops))
    return speech_db, np.repeat(floors, [len(window) for window in windows])


def _without_short_runs(is_on: np.ndarray, shortest: int, at_the_ends: bool) -> np.ndarray:
    """Runs of True shorter than `shortest` become False; runs that touch an end only where `at_the_ends` says so."""
    kept = is_on.copy()
    for start, stop in runs_of(is_on):
        is_at_end = start == 0 or stop == len(is_on)
        if stop - start < shortest + (not at_the_ends) and (at_the_ends or not is_at_end):
            kept[start:stop] = False
    return kept


def runs_of(is_on: np.ndarray) -> list[tuple[int, int]]:
    """Half-open stretches of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_on.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


# -------------------------------------------------------------------------------------------------------- fingerprints

LOUD_DB = 25.0  # below the loudest moment
MANY_CLIPS = 20_000
MOST_BEFORE = 200  # a jingle that is in a corpus ten thousand times is not compared fifty million times
STRETCH_TIMES = 6  # each time of a fingerprint is a byte of signs


def _loud_extent(power_f: np.ndarray) -> tuple[int, int]:
    """From the first to behind the last frame that is within LOUD_DB of the loudest, three frames together: where a clip's words
    are, whatever is around them. Unlike `voice_activity`, it does not look at the floor, which an editor's silence changes."""
    power_f = np.convolve(power_f, np.ones(3), "same")
    loud = np.flatnonzero(power_f >= power_f.max() * 10 ** (-LOUD_DB / 10))
    return int(loud[0]), int(loud[-1]) + 1


def fingerprint_distance(left: bytes, right: bytes) -> float:
    """The share of the signs that differ, of those that are sure in both: 0 for the same clip, about 0.5 for two others.

    1.0 where fewer than a quarter of the bits are sure in both: nothing can be said then.
    """
    return float(_distances(np.frombuffer(left, np.uint8)[None], np.frombuffer(right, np.uint8)[None])[0])


def worst_stretch(left: bytes, right: bytes) -> float:
    """`fingerprint_distance` of the STRETCH_TIMES in a row (of 32) in which most signs differ: another word in a sentence that is
    the same otherwise is far here, where a codec's noise is spread over all. 1.0 where nothing can be said."""
    bits = np.frombuffer(left + right, np.uint8).reshape(2, -1)
    sure = bits[0, FINGERPRINT_BYTES:] & bits[1, FINGERPRINT_BYTES:]
    differ = (bits[0, :FINGERPRINT_BYTES] ^ bits[1, :FINGERPRINT_BYTES]) & sure
    together = np.ones(STRETCH_TIMES, np.int64)
    num_sure, num_differ = (np.convolve(np.bitwise_count(one), together, "valid") for one in (sure, differ))
    tells = num_sure >= 2 * STRETCH_TIMES
    return float((num_differ[tells] / num_sure[tells]).max()) if tells.any() else 1.0


def _distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[pairs, 2 × FINGERPRINT_BYTES] each → [pairs]."""
    sure = left[:, FINGERPRINT_BYTES:] & right[:, FINGERPRINT_BYTES:]
    differ = (left[:, :FINGERPRINT_BYTES] ^ right[:, :FINGERPRINT_BYTES]) & sure
    num_sure = np.bitwise_count(sure).sum(axis=1, dtype=np.int64)
    num_differ = np.bitwise_count(differ).sum(axis=1, dtype=np.int64)
    return np.where(num_sure >= FINGERPRINT_BITS // 4, num_differ / np.maximum(1, num_sure), 1.0)


def near_pairs(fingerprints: list[bytes], words_s: list[float], max_distance: float, max_apart_s: float = 0.1,
               ) -> list[tuple[int, int, float]]:
    """(earlier, later, distance) of clips whose words take about the same time and whose fingerprints are near.

    Locality-sensitive hashing, not all with all: up to 32 keys a clip, each one byte of signs (two where there are more than
    MANY_CLIPS) and the length to 2 × `max_apart_s`; clips that share a key are compared, each with the MOST_BEFORE before it. Two
    that differ in 10 % of their bits share none of 32 with a probability of (1 − 0.9⁸)³² = 10⁻⁸, of 31 longer ones 0.2 %.
    """
    num_clips = len(fingerprints)
    if num_clips < 2:
        return []
    bits = np.frombuffer(b"".join(fingerprints), np.uint8).reshape(num_clips, -1)
    lengths = np.asarray(words_s) / (2 * max_apart_s)
    key_bytes = 2 if num_clips > MANY_CLIPS else 1
    found: dict[tuple[int, int], float] = {}
    for shift in (0.0, 0.5):  # two lengths that are near share a bin of one of the two grids
        bins = np.floor(lengths + shift).astype(np.int64)
        for first_byte in range(FINGERPRINT_BYTES - key_bytes + 1):
            band = slice(first_byte, first_byte + key_bytes)
            num_sure = np.bitwise_count(bits[:, FINGERPRINT_BYTES:][:, band]).sum(axis=1)
            tells = np.flatnonzero(num_sure >= 4 * key_bytes)  # silence shares its key with silence
            keys = bins[tells]
            for signs in bits[tells, band].T:
                keys = keys << 8 | signs
            order = np.argsort(keys, kind="stable")
            keys, order = keys[order], tells[order]
            alive = np.arange(len(order) - 1)  # places whose key goes on for `lag` more
            for lag in range(1, min(len(order), MOST_BEFORE + 1)):
                alive = alive[alive + lag < len(order)]
                alive = alive[keys[alive] == keys[alive + lag]]
                if not len(alive):
                    break
                first, second = order[alive], order[alive + lag]
                is_near = np.abs(lengths[first] - lengths[second]) <= 0.5
                first, second = first[is_near], second[is_near]
                distance = _distances(bits[first], bits[second])
                near = np.flatnonzero(distance <= max_distance)
                pairs = zip(first[near].tolist(), second[near].tolist(), distance[near].tolist(), strict=True)
                found.update({(min(left, right), max(left, right)): apart for left, right, apart in pairs})
    return [(left, right, apart) for (left, right), apart in sorted(found.items())]
