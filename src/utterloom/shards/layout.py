"""The names and columns of a woven corpus. DESIGN: row i of shard k is the same utterance in every layer.

    corpus.json · README.md · utterances/<split>-00000.parquet · audio/<split>-00000.tar · dropped/<stage>-<shard>.parquet
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from urllib.parse import quote, unquote

from utterloom.core.errors import SourceError

UTTERANCES, AUDIO, DROPPED = "utterances", "audio", "dropped"
AUDIO_SUFFIX, METADATA_SUFFIX = "flac", "json"
CARD, DATASET_CARD = "corpus.json", "README.md"
MANIFEST_FILE = "utterances.parquet"
MOVED = "splits-{digest}.parquet"  # of a corpus: shard, row and split of utterances whose split arrived after they were packed
MAX_ID_CHARACTERS = 200
VIEW_COLUMN = "text_"

_SPLIT = r"[a-z0-9_]+(\.[a-z0-9_]+)*"  # as the Hugging Face Hub wants it
_SHARD_NAME = re.compile(rf"(?P<split>{_SPLIT})-(?P<number>[0-9]{{5,}})")
MAX_SPLIT_CHARACTERS = 40


def shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}"


def split_of(shard: str) -> str:
    match = _SHARD_NAME.fullmatch(shard)
    if match is None:
        raise SourceError(f"{shard!r} is not the name of a shard")
    return match["split"]


def utterances_path(shard: str) -> str:
    return f"{UTTERANCES}/{shard}.parquet"


def audio_path(shard: str) -> str:
    return f"{AUDIO}/{shard}.tar"


def dropped_path(stage: str, shard: str) -> str:
    return f"{DROPPED}/{stage}-{shard}.parquet"


def escape_id(utterance_id: str) -> str:
    """The stem of an utterance's tar members: letters, digits, `_` and `-` stay, all else is percent-encoded UTF-8.

    WebDataset cuts a name at its first dot and at slashes; ids like `hash_123.4-135.4` and `a/../b` are real.
    """
    return quote(utterance_id, safe="").replace(".", "%2E").replace("~", "%7E")


def unescape_id(stem: str) -> str:
    return unquote(stem, errors="strict")


def id_complaint(utterance_id: str) -> str | None:
    """Why a string cannot be an utterance's id; None when it can."""
    if not utterance_id or not utterance_id.strip():
        return "the id is empty"
    if utterance_id != utterance_id.strip():
        return "the id begins or ends with a space"
    if len(utterance_id) > MAX_ID_CHARACTERS:
        return f"the id is longer than {MAX_ID_CHARACTERS} characters"
    if not utterance_id.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in utterance_id):
        return "the id holds a control character"
    return None


def split_complaint(split: str) -> str | None:
    """Why a string cannot be a split's name (it becomes part of file names); None when it can."""
    if not re.fullmatch(_SPLIT, split) or len(split) > MAX_SPLIT_CHARACTERS:
        return f"{split!r}: a split is named with small letters, digits, '_' and '.' inside"
    return None


def view_column(name: str) -> str:
    return f"{VIEW_COLUMN}{name}"


def manifest_schema(views: list[str]) -> Any:
    """Columns of a manifest, as an Arrow schema; a view is a column of its own."""
    import pyarrow as pa

    span = pa.struct([("path", pa.string()), ("start_sample", pa.int64()), ("stop_sample", pa.int64()),
                      ("sample_rate_hz", pa.int32()), ("num_channels", pa.int32()), ("channel", pa.int32())])
    return pa.schema([
        ("id", pa.string()), ("text", pa.string()), *((view_column(view), pa.string()) for view in views),
        ("speaker", pa.string()), ("session", pa.string()), ("language", pa.string()), ("split", pa.string()),
        ("attributes", pa.map_(pa.string(), pa.string())), ("duration_s", pa.float64()), ("spans", pa.list_(span))])


def utterances_schema(views: list[str]) -> Any:
    """Columns of `utterances/*.parquet`: the manifest's, and where the audio lies inside the shard's tar."""
    import pyarrow as pa

    kept = [field for field in manifest_schema(views) if field.name not in ("attributes", "duration_s", "spans")]
    pair = pa.struct([("key", pa.string()), ("value", pa.string())])  # an Arrow map is more than load_dataset() understands
    return pa.schema([
        *kept, ("attributes", pa.list_(pair)),
        ("duration_s", pa.float64()), ("num_samples", pa.int64()), ("sample_rate_hz", pa.int32()),
        ("audio_offset", pa.int64()), ("audio_bytes", pa.int64()), ("audio_crc32", pa.int64()),
        ("spans", manifest_schema(views).field("spans").type)])
