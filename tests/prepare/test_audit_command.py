"""`prepare --audit`: a manifest, and what is wrong with its recordings, in one command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from tests.conftest import Command

RATE_HZ = 16_000


def test_a_manifest_is_audited_when_it_is_made_and_later(tmp_path: Path, utterloom: Command) -> None:
    rng = np.random.default_rng(0)
    for name, gain in (("good", 0.1), ("silent", 0.0)):
        envelope = np.repeat(rng.uniform(0, 1, 40), RATE_HZ // 20)
        soundfile.write(tmp_path / f"{name}.wav", gain * envelope * rng.standard_normal(2 * RATE_HZ), RATE_HZ)
    table = tmp_path / "table.tsv"
    table.write_text("id\tpath\ttext\ngood\tgood.wav\tsome words\nsilent\tsilent.wav\tmore words\ngone\tgone.wav\tno words\n")
    command = ["prepare", "table", str(table), str(tmp_path / "manifest"), "dev=0", "workers=0", "--json"]
    for audit in (False, True, True):
        said = json.loads(utterloom(*command, *(["--audit"] if audit else [])).out)
        assert said["utterances"] == 2
    assert said["audit"]["utterances"] == 2 and said["audit"]["dropped_before"] == 1
    assert [example["id"] for row in said["audit"]["findings"] if row["reason"] == "no speech"
                          for example in row["examples"]] == ["silent"]
    assert Path(said["audit"]["page"]).read_text(encoding="utf-8").startswith("<!")
