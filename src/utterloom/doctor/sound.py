"""Which recordings can be read here, and whether the demo can speak."""

from __future__ import annotations

import ctypes
import shutil
from typing import Any

from utterloom.doctor.findings import Examined, Problem, first_line
from utterloom.doctor.packages import EXTRAS, pip_line, version_of
from utterloom.show.lines import Rows

FAMILIAR_CONTAINERS = ("WAV", "FLAC", "MP3", "OGG", "AIFF", "CAF", "AU", "NIST", "W64", "RF64")


def formats() -> Examined:
    """Which recordings can be read, and whether the demo can speak."""
    value: dict[str, Any] = {"libsndfile": None, "containers": [], "ffmpeg": shutil.which("ffmpeg"), "pyav": None, "espeakng": None}
    rows: Rows = []
    problems = []
    try:
        import soundfile

        value["libsndfile"], value["containers"] = soundfile.__libsndfile_version__, list(soundfile.available_formats())
        familiar = [name for name in FAMILIAR_CONTAINERS if name in value["containers"]]
        others = len(value["containers"]) - len(familiar)
        rows.append(("libsndfile", f"{value['libsndfile']} reads {', '.join(familiar)} and {others} others"))
        if "MP3" not in value["containers"]:
            problems.append(Problem("recordings as mp3", f"libsndfile {value['libsndfile']} is older than 1.1",
                                    "install libsndfile 1.1 or newer"))
    except (ImportError, OSError) as error:
        problems.append(Problem("reading any recording", f"soundfile cannot be loaded: {first_line(error)}", pip_line()))
    if version_of("av"):
        try:
            import av

            value["pyav"] = av.__version__
            library = ".".join(map(str, av.library_versions["libavformat"][:2]))
            rows.append(("PyAV", f"{av.__version__} with its own FFmpeg (libavformat {library}) reads the rest: m4a, aac, webm …"))
        except (ImportError, OSError) as error:
            problems.append(Problem(EXTRAS["media"].purpose, f"PyAV cannot be loaded: {first_line(error)}", pip_line("media")))
    rows.append(("ffmpeg", f"{value['ffmpeg'] or 'no such program'}; it is not needed"))
    if version_of("espeakng-loader"):
        try:
            value["espeakng"] = _espeak_version()
            rows.append(("eSpeak NG", f"{value['espeakng']} speaks for the demo"))
        except (ImportError, OSError, AttributeError) as error:
            problems.append(Problem(EXTRAS["tts"].purpose, f"eSpeak NG cannot be loaded: {first_line(error)}", pip_line("tts")))
    return value, rows, problems


def _espeak_version() -> str:
    import espeakng_loader

    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    library.espeak_Info.restype = ctypes.c_char_p
    return str(library.espeak_Info(None).decode())
