"""Commands of wav.scp: what only decodes is a file and a channel, whatever else is refused to the last word; nothing is run."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utterloom.prepare.readers.piped import Piped, parse_command


@pytest.mark.parametrize(("command", "path", "channel"), [
    ("flac -c -d -s /d/a-1.flac |", "/d/a-1.flac", None), ("flac -cds a.flac|", "a.flac", None),
    ("flac --stdout --decode --silent 'a b.flac' |", "a b.flac", None),
    ("/opt/k/tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 1 a.sph |", "a.sph", 0),
    ("sph2pipe -f wav -c2 a.sph |", "a.sph", 1), ("sph2pipe a.sph |", "a.sph", None), ("cat 'it is.wav' |", "it is.wav", None),
    ("cat it\\ is.wav |", "it is.wav", None), ('cat "a#b.wav" |', "a#b.wav", None), ("sox a.wav -t wav - |", "a.wav", None),
    ("sox -V1 -t mp3 a.mp3 -r 16k -b 16 -c 1 -e signed-integer -t wavpcm - |", "a.mp3", None),
    ("sox a.wav -t wav - remix 2 |", "a.wav", 1), ("sox a.wav -t wav - remix - rate -h 16000 |", "a.wav", None),
    ("sox a.wav -t wav -r 8000 -s -2 - remix 1 rate 8000 |", "a.wav", 0), ("sox a.wav -t wav - channels 1 |", "a.wav", None),
    ("ffmpeg -i a.m4a -f wav -ar 16000 -ac 1 - |", "a.m4a", None),
    ("ffmpeg -v quiet -nostdin -i 'a b.mp4' -vn -acodec pcm_s16le -f wav pipe:1 |", "a b.mp4", None),
    ("ffmpeg -threads 1 -i a.flac -ar 16000 -map_channel 0.0.1  -f wav -threads 1 pipe:1 |", "a.flac", 1),
    ("sph2pipe -f wav -p -c 2 a.sph | sox -t wav - -r 16000 -t wav - |", "a.sph", 1),
    ("cat a.wav | sox -t wav - -t wav - remix 2 |", "a.wav", 1),
    ("flac -cd a.flac | ffmpeg -i - -f wav -ac 1 - |", "a.flac", None)])
def test_what_only_decodes(command: str, path: str, channel: int | None) -> None:
    assert parse_command(command) == Piped(path, channel)


@pytest.mark.parametrize(("command", "why"), [
    ("touch x |", "'touch' is not one of"), ("gunzip -c a.wav.gz |", "'gunzip' is not one of"),
    ("| cat a.wav |", "a part of it is empty"),
    ("cat a.wav", "does not end in"), ("cat a.wav b.wav |", "2 files"), ("cat |", "0 files"),
    ("cat -n a.wav |", "-n is not understood"),
    ("cat a.wav > b.wav |", "'>' is for a shell"), ("cat a.wav; rm a.wav |", "';' is for a shell"),
    ("cat $HOME/a.wav |", "is for a shell"),
    ("cat `ls` |", "is for a shell"), ("cat *.wav |", "is for a shell"), ("cat ~/a.wav |", "is for a shell"),
    ("cat a.wav && rm a.wav |", "'&&' is for a shell"), ("cat 'a.wav |", "No closing quotation"),
    ("cat - |", "what comes before it"),
    ("flac -c -s a.flac |", "without -d"), ("flac -c -d --skip=5 a.flac |", "--skip=5 is not understood"),
    ("sph2pipe -f raw a.sph |", "-f raw"), ("sph2pipe -t 1:2 a.sph |", "-t is not understood"), ("sph2pipe -c 3 a.sph |", "-c 3"),
    ("sph2pipe a.sph -c |", "lacks a word"), ("sox a.wav b.wav |", "does not write wav to a pipe"),
    ("sox a.wav - |", "does not write wav"),
    ("sox a.wav -t raw - |", "-t raw"), ("sox -t raw -r 8000 a.raw -t wav - |", "-t raw"),
    ("sox -v 2 a.wav -t wav - |", "-v is not understood"),
    ("sox a.wav -t wav - trim 0 5 |", "trim 0 5 is not understood"), ("sox a.wav -t wav - remix 1 2 |", "remix 1 2"),
    ("sox a.wav -t wav - remix 2v0.5 |", "remix 2v0.5"), ("sox a.wav -t wav - remix - remix 1 |", "remix 1"),
    ("sox a.wav -t wav - rate |", "rate is not understood"), ("sox a.wav -t wav - gain -n |", "gain"),
    ("ffmpeg -ss 5 -i a.wav -f wav - |", "-ss is not understood"),
    ("ffmpeg -i a.wav -af volume=2 -f wav - |", "-af is not understood"),
    ("ffmpeg -i a.wav -i b.wav -f wav - |", "2 files"), ("ffmpeg -i a.wav -f mp3 - |", "-f mp3"),
    ("ffmpeg -i a.wav out.wav |", "does not write wav"),
    ("ffmpeg -ar 8000 -i a.wav -f wav - |", "-ar is not understood"), ("ffmpeg -i a.wav -f wav - -i |", "lacks a word"),
    ("sph2pipe -c 1 a.sph | sox -t wav - -t wav - remix 2 |", "takes channel 2 of what comes before it"),
    ("sox a.wav -t wav - channels 1 | sox -t wav - -t wav - remix 1 |", "takes channel 1"),
    ("cat a.wav | cat b.wav |", "reads 'b.wav'")])
def test_what_does_more_is_refused(command: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_command(command)
    assert why in str(caught.value)


@given(name=st.text(st.characters(exclude_characters="$`*?~\n\r\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: not name.startswith("-") and not set(name) <= set("();<>|&")))
def test_any_quoted_name_comes_out_as_it_is(name: str) -> None:
    for command in ("cat {} |", "flac -cd {} |", "sox {} -t wav - |"):
        assert parse_command(command.format(shlex.quote(name))).path == name


@given(st.text(max_size=40) | st.lists(st.sampled_from(
    ["cat", "sox", "flac", "-c", "-d", "-t", "wav", "-", "a.wav", "remix", "1", "|", "'", "ffmpeg", "-i", "-f", ";"]),
    max_size=12).map(" ".join))
def test_anything_is_understood_or_refused(command: str) -> None:
    try:
        assert parse_command(command + "|").path
    except ValueError as error:
        assert str(error)
