"""D18, K15: units are exact, the same in any batch, and a codebook says what it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="k-means needs numba, of the extra `extract`")

from utterloom.core.errors import DamagedError, OutputError, SourceError
from utterloom.core.timing import FrameGrid
from utterloom.models.kmeans import CENTROIDS, Codebook, import_centroids
from utterloom.models.kmeans_fit import Fitted, fit_kmeans
from utterloom.models.kmeans_nearest import MOST_MARGIN, NEAR_MARGIN, Nearest, as_float32

GRID = FrameGrid(16_000, 320)


def squared_distances(frames: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """What the contract says, word by word: float64, dimension after dimension. [n, k]"""
    return np.stack([np.cumsum((frame.astype(np.float64) - centroids.astype(np.float64))**2, axis=1)[:, -1] for frame in frames])


def check(frames: np.ndarray, centroids: np.ndarray) -> None:
    labels, distances, margins = Nearest(centroids)(frames)
    wanted = squared_distances(frames, centroids)
    np.testing.assert_array_equal(labels, wanted.argmin(axis=1))
    assert labels.dtype == np.int32 and distances.dtype == margins.dtype == np.float32
    nearest_two = np.sort(wanted, axis=1)[:, :2]
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(distances, nearest_two[:, 0].astype(np.float32), rtol=1e-4, atol=1e-37)
    if centroids.shape[0] == 1:
        assert (margins == np.float32(MOST_MARGIN)).all()
        return
    first, second = nearest_two.T
    exact = np.minimum(MOST_MARGIN, np.divide(second - first, second, out=np.zeros_like(second), where=second > 0))
    np.testing.assert_allclose(margins, exact, atol=2e-4)
    # Squares that are too small for float32 are as near as float32 can tell: their margins are exact too.
    is_near = (exact < NEAR_MARGIN / 2) & (second > 1e-30)
    np.testing.assert_allclose(margins[is_near], exact[is_near], rtol=1e-6, atol=1e-12)


def speech_like(num: int, clusters: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames and centroids in a plane of few dimensions, and noise in all of them."""
    draws = np.random.default_rng(seed)
    basis = draws.standard_normal((12, dim))
    centroids = draws.standard_normal((clusters, 12)) @ basis + 0.1 * draws.standard_normal((clusters, dim)) + 3
    frames = centroids[draws.integers(clusters, size=num)] + 0.5 * draws.standard_normal((num, 12)) @ basis
    return (frames + 0.3 * draws.standard_normal((num, dim))).astype(np.float32), centroids.astype(np.float32)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clusters", "dim"), [(1, 1), (2, 3), (31, 64), (33, 65), (200, 256), (500, 40)])
def test_labels_are_those_of_float64(clusters: int, dim: int) -> None:
    frames, centroids = speech_like(600, clusters, dim)
    check(frames, centroids)


def test_the_plane_is_used_and_changes_nothing() -> None:
    frames, centroids = speech_like(1000, 200, 256)
    nearest = Nearest(centroids)
    labels, _, margins = nearest(frames)
    assert nearest._plane is not None and 0 < nearest._plane.num_directions < 128
    for num in (0, 16, 64, 128):
        plane = nearest._plane_of(num)
        again = nearest._search(plane, frames)
        np.testing.assert_array_equal(again[0], labels)
        np.testing.assert_array_equal(again[2], margins)


def test_noise_is_no_plane() -> None:
    draws = np.random.default_rng(1)
    frames, centroids = draws.standard_normal((400, 96), np.float32), draws.standard_normal((150, 96), np.float32)
    check(frames, centroids)
    nearest, wanted = Nearest(centroids), squared_distances(frames, centroids).argmin(axis=1)
    for num in (16, 48):  # what the plane leaves out decides, and is allowed for
        np.testing.assert_array_equal(nearest._search(nearest._plane_of(num), frames)[0], wanted)


def test_frames_between_two_centroids_and_centroids_that_are_there_twice() -> None:
    _, centroids = speech_like(1, 40, 48)
    centroids = np.concatenate([centroids, centroids[::-1], np.zeros((2, 48), np.float32)])
    between = ((centroids[:40] + centroids[1:41]) / 2).astype(np.float32)
    frames = np.concatenate([centroids, between, np.zeros((3, 48), np.float32)])
    labels, margins = Codebook(centroids).assign(frames)
    assert (labels[:80] < 40).all() and (labels[-3:] == 80).all() and (margins[-3:] == 0).all()
    assert (margins[:80] == 0).all()
    check(frames, centroids)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Any shapes; numbers of few bits (many ties) or of any size; some centroids twice, some frames on centroids."""
    num, clusters, dim = draw(st.integers(1, 40)), draw(st.integers(1, 70)), draw(st.integers(1, 40))
    draws = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw(st.sampled_from([-30, -19, -6, 0, 0, 0, 3, 17, 18, 25]))
    offset = draw(st.sampled_from([0, 0, 1, 1000]))
    if draw(st.booleans()):
        frames, centroids = draws.integers(-2, 3, (num, dim)), draws.integers(-2, 3, (clusters, dim))
    else:
        frames, centroids = draws.standard_normal((num, dim)), draws.standard_normal((clusters, dim))
    frames, centroids = (((values + offset) * scale).astype(np.float32) for values in (frames, centroids))
    centroids[draws.integers(clusters, size=clusters // 3)] = centroids[0]
    frames[draws.integers(num, size=num // 3)] = centroids[draws.integers(clusters, size=num // 3)]
    return frames, centroids


@settings(max_examples=150)
@given(problems())
def test_labels_are_exact_for_any_numbers(problem: tuple[np.ndarray, np.ndarray]) -> None:
    check(*problem)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 299), max_size=12))
def test_a_frame_has_the_same_label_in_any_batch(seed: int, borders: list[int]) -> None:
    frames, centroids = speech_like(300, 70, 80, seed)
    frames[::7] = (centroids[0] + centroids[1]) / 2
    labels, margins = Codebook(centroids).assign(frames)
    book = Codebook(centroids)
    pieces = [book.assign(frames[start:stop]) for start, stop in
              zip([0, *sorted(borders)], [*sorted(borders), 300], strict=True)]
    np.testing.assert_array_equal(np.concatenate([piece[0] for piece in pieces]), labels)
    np.testing.assert_array_equal(np.concatenate([piece[1] for piece in pieces]), margins)
    alone = Codebook(centroids).assign(frames[41:42])
    assert alone[0][0] == labels[41] and alone[1][0] == margins[41]


def test_float16_is_the_same_numbers() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(as_float32(every.reshape(256, 256)), every.astype(np.float32).reshape(256, 256))
    frames, centroids = speech_like(200, 50, 64)
    halves = frames.astype(np.float16)
    for ours, wanted in zip(Codebook(centroids).assign(halves), Codebook(centroids).assign(halves.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_frames_that_no_unit_fits_are_refused() -> None:
    frames, centroids = speech_like(300, 8, 16)
    book = Codebook(centroids)
    with pytest.raises(SourceError, match="16 dimensions"):
        book.assign(frames[:, :15])
    with pytest.raises(SourceError, match="float64"):
        book.assign(frames.astype(np.float64))
    frames[277, 3] = np.nan
    with pytest.raises(SourceError, match="frame 277 "):
        book.assign(frames)
    assert book.assign(frames[:0])[0].shape == (0,)


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_codebook_comes_back_as_it_was(tmp_path: Path) -> None:
    _, centroids = speech_like(1, 20, 12)
    book = Codebook(centroids, {"model": "hubert", "layer": 6}, GRID, {"inertia": [2.0, 1.0]})
    book.save(tmp_path / "book")
    book.save(tmp_path / "book")
    again = Codebook.load(tmp_path / "book")
    np.testing.assert_array_equal(again.centroids, centroids)
    assert (again.producer, again.grid, again.fit, again.fingerprint) == (book.producer, GRID, book.fit, book.fingerprint)
    assert (again.size, again.dim) == (20, 12)
    others = [Codebook(centroids, {"model": "hubert", "layer": 7}, GRID), Codebook(centroids + 1, book.producer, GRID),
              Codebook(centroids, book.producer, FrameGrid(24_000, 1_920))]
    assert len({other.fingerprint for other in [book, *others]}) == 4
    with pytest.raises(OutputError, match="another configuration"):
        others[1].save(tmp_path / "book")


def test_a_hurt_codebook_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no codebook"):
        Codebook.load(tmp_path / "book")
    Codebook(speech_like(1, 20, 12)[1]).save(tmp_path / "book")
    path = tmp_path / "book" / CENTROIDS
    whole = path.read_bytes()
    for hurt in (whole[:-1], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], b""):
        path.write_bytes(hurt)
        with pytest.raises(DamagedError, match="checksum"):
            Codebook.load(tmp_path / "book")
    path.unlink()
    with pytest.raises(DamagedError, match="cannot be read"):
        Codebook.load(tmp_path / "book")
    card = json.loads((tmp_path / "book" / "codebook.json").read_text())
    (tmp_path / "book" / "codebook.json").write_text(json.dumps(card | {"units": 21}))
    with pytest.raises(DamagedError, match="checksum"):
        Codebook.load(tmp_path / "book")


def test_centroids_of_other_tools(tmp_path: Path) -> None:
    _, centroids = speech_like(1, 20, 12)
    np.save(tmp_path / "wide.npy", centroids.astype(np.float64))
    book = import_centroids(tmp_path / "wide.npy", {"model": "hubert"}, GRID)
    np.testing.assert_array_equal(book.centroids, centroids)
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    (tmp_path / "model.km").write_bytes(b"\x80\x04\x95 a pickle")
    for name, said in [("pickled.npy", "not opened"), ("model.km", "not opened"), ("none.npy", "does not exist")]:
        with pytest.raises(SourceError, match=said):
            import_centroids(tmp_path / name)
    for values, said in [(np.zeros(5), r"\[5\]"), (np.full((2, 2), 1e300), "not finite"), (np.array([["a"]]), "numbers")]:
        np.save(tmp_path / "odd.npy", values)
        with pytest.raises(SourceError, match=said):
            import_centroids(tmp_path / "odd.npy")


# --- fitting ----------------------------------------------------------------------------------------------------------


class InMemory:
    """Parts of frames, in pieces of odd sizes."""

    def __init__(self, *parts: np.ndarray, piece: int = 37) -> None:
        self.arrays, self.piece = parts, piece
        self.parts, self.counts = [f"part {number}" for number in range(len(parts))], [len(part) for part in parts]
        self.dim = parts[0].shape[1]

    def read(self, part: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self.arrays[part]), self.piece):
            yield self.arrays[part][start:start + self.piece]


def fit(source: InMemory, clusters: int, **more: int | float) -> Fitted:
    return fit_kmeans(source, clusters, seed=more.pop("seed", 0), **more)  # type: ignore[arg-type]


def test_a_fit_says_the_inertia_of_what_it_returns() -> None:
    frames, _ = speech_like(3000, 25, 20)
    fitted = fit(InMemory(frames[:1000], frames[1000:]), 25)
    wanted = squared_distances(frames, fitted.centroids)
    assert fitted.inertia[-1] == pytest.approx(wanted.min(axis=1).sum(), rel=1e-5)
    np.testing.assert_array_equal(fitted.counts, np.bincount(wanted.argmin(axis=1), minlength=25))
    assert fitted.converged and fitted.num_frames == 3000
    assert all(after <= before for before, after in zip(fitted.inertia, fitted.inertia[1:], strict=False))


def test_a_fit_does_not_depend_on_how_frames_come() -> None:
    frames, _ = speech_like(4000, 30, 140)
    fits = [fit(InMemory(frames[:1500], frames[1500:], piece=piece), 30, sample_frames=600, passes=3) for piece in (1, 37, 5000)]
    for other in fits[1:]:
        assert other.centroids.tobytes() == fits[0].centroids.tobytes() and other.inertia == fits[0].inertia
    assert fit(InMemory(frames), 30, sample_frames=600, passes=3, seed=1).centroids.tobytes() != fits[0].centroids.tobytes()


@pytest.mark.parametrize("sample_frames", [None, 1500])
def test_inertia_is_that_of_scikit_learn(sample_frames: int | None) -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is in the extra dev")
    frames, _ = speech_like(6000, 1000, 48)
    theirs = min(cluster.KMeans(40, n_init=1, random_state=seed, tol=0).fit(frames).inertia_ for seed in range(3))
    more = {"sample_frames": sample_frames} if sample_frames else {}
    ours = fit(InMemory(frames[:2000], frames[2000:]), 40, passes=30, **more)
    assert ours.inertia[-1] <= 1.01 * theirs


def test_blobs_in_many_directions_are_found_as_scikit_learn_finds_them() -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is in the extra dev")
    draws = np.random.default_rng(3)
    centres = 0.7 * draws.standard_normal((60, 256))
    frames = (centres[draws.integers(60, size=1500)] + draws.standard_normal((1500, 256))).astype(np.float32)
    theirs = min(cluster.KMeans(50, n_init=1, random_state=seed, tol=0).fit(frames).inertia_ for seed in range(3))
    assert fit(InMemory(frames), 50, passes=30).inertia[-1] <= 1.01 * theirs


def test_clusters_that_become_empty_are_placed_anew() -> None:
    draws = np.random.default_rng(0)
    # A start on a sample of near frames alone; those far off come in later passes.
    frames = np.concatenate([np.repeat(draws.standard_normal((6, 8)), 500, axis=0), draws.standard_normal((20, 8)) + 50])
    fitted = fit(InMemory(frames.astype(np.float32)), 12, sample_frames=12)
    assert fitted.reseeded > 0 and (fitted.counts > 0).all()
    same = fit(InMemory(np.ones((50, 4), np.float32)), 3)
    assert (same.counts > 0).sum() == 1 and same.inertia[-1] == 0 and np.isfinite(same.centroids).all()


def test_frames_that_are_not_finite_are_left_out_and_counted() -> None:
    frames, _ = speech_like(1000, 10, 16)
    hurt = frames.copy()
    hurt[[5, 600]] = np.nan
    hurt[700, 3] = np.inf
    fitted = fit(InMemory(hurt[:500], hurt[500:]), 10, passes=2)
    assert fitted.not_finite == {"part 0": 1, "part 1": 2} and fitted.num_frames == 997
    with pytest.raises(SourceError, match="finite"):
        fit(InMemory(np.full((50, 4), np.nan, np.float32)), 3)


def test_what_cannot_be_fitted_is_refused() -> None:
    frames, _ = speech_like(100, 10, 16)
    with pytest.raises(SourceError, match="100 frames cannot make 101 clusters"):
        fit(InMemory(frames), 101)
    with pytest.raises(SourceError, match="float64"):
        fit(InMemory(frames.astype(np.float64)), 3)
    short = InMemory(frames)
    short.counts = [120]
    with pytest.raises(SourceError, match="gave 100 frames and was said to have 120"):
        fit(short, 3)
