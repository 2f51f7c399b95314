"""Tasks end once each, whatever happens to the processes that do them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from tests.runners.tasks import (
    Task,
    answer_oddly,
    big,
    fail,
    raise_odd,
    refuse_to_start,
    threads_of,
    work,
    write_for_ever,
)
from utterloom.core.errors import AudioError, UtterloomError
from utterloom.runners import LocalRunner
from utterloom.runners.local import usable_cores
from utterloom.runners.workers import MAX_ATTEMPTS, WorkerPool


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("num_tasks", [0, 1, 7])
def test_every_task_is_done_once(num_workers: int, num_tasks: int) -> None:
    results = list(LocalRunner(num_workers).run(work, [Task(number) for number in range(num_tasks)]))
    assert sorted(results) == [(number, number * number) for number in range(num_tasks)]


def test_a_task_whose_worker_is_killed_is_done_again(tmp_path: Path) -> None:
    tasks = [Task(number, str(tmp_path), deaths=1 if number == 3 else 0) for number in range(8)]
    results = list(LocalRunner(2).run(work, tasks))
    assert sorted(results) == [(number, number * number) for number in range(8)]


def test_a_task_that_kills_every_worker_is_named_and_no_other_is_blamed(tmp_path: Path) -> None:
    tasks = [Task(number, str(tmp_path), deaths=99 if number == 2 else 0) for number in range(6)]
    done = []
    with pytest.raises(UtterloomError, match=f"died {MAX_ATTEMPTS} times on the same work"):
        for number, _ in LocalRunner(2).run(work, tasks):
            done.append(number)
    assert len((tmp_path / "2").read_text()) == MAX_ATTEMPTS
    assert 2 not in done and all(len((tmp_path / str(number)).read_text()) == 1 for number in done)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_a_task_raises_arrives_whole(num_workers: int) -> None:
    with pytest.raises(AudioError) as caught:
        list(LocalRunner(num_workers).run(fail, [7]))
    assert (caught.value.message, caught.value.hint) == ("task 7", "mend it")


def test_a_worker_killed_in_the_middle_of_its_answer_is_replaced() -> None:
    """What concurrent.futures waits for without end: half of a result, and nobody left to write the rest."""
    num_bytes = 50_000_000
    with WorkerPool(1) as pool:
        assert len(pool.submit(big, 10).result(timeout=30)) == 10
        for delay_s in (0.0, 0.005, 0.02, 0.04):
            answer = pool.submit(big, num_bytes)
            time.sleep(delay_s)
            for worker in active_children():
                worker.kill()
            assert len(answer.result(timeout=30)) == num_bytes
        assert pool.num_deaths >= 1


def test_what_cannot_cross_a_process_border_is_still_told() -> None:
    with WorkerPool(1) as pool:
        with pytest.raises(RuntimeError, match="OddError: odd error"):
            pool.submit(raise_odd, 0).result(timeout=30)
        with pytest.raises(Exception, match="pickle"):
            pool.submit(answer_oddly, 0).result(timeout=30)
        with pytest.raises(Exception, match="pickle"):
            pool.submit(work, lambda: None).result(timeout=30)
        assert pool.submit(work, Task(3)).result(timeout=30) == 9


def test_a_worker_that_cannot_start_says_why() -> None:
    with WorkerPool(1, refuse_to_start) as pool, pytest.raises(AudioError, match="no such corpus"):
        pool.submit(work, Task(1)).result(timeout=30)


def test_closing_ends_what_is_under_way_and_what_waits(tmp_path: Path) -> None:
    with WorkerPool(1) as pool:
        under_way, waiting = pool.submit(write_for_ever, str(tmp_path / "a")), pool.submit(work, Task(1))
        while not (tmp_path / "a").exists():
            time.sleep(0.01)
    assert_nobody_writes(tmp_path / "a")
    assert isinstance(under_way.exception(timeout=5), UtterloomError) and waiting.cancelled()


def test_workers_have_one_thread() -> None:
    assert list(LocalRunner(1).run(threads_of, [0])) == [(0, "1")]


def start_writing(script: Path, paths: list[Path]) -> subprocess.Popen[str]:
    """A process whose workers write to each path, once all of them do."""
    root = Path(__file__).parents[2]
    script.write_text(f"import sys\nfrom tests.runners.tasks import write_for_ever\nfrom utterloom.runners import LocalRunner\n"
                      f"if __name__ == '__main__':\n    list(LocalRunner({len(paths)}).run(write_for_ever, sys.argv[1:]))\n")
    process = subprocess.Popen([sys.executable, script, *paths], cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
                               stderr=subprocess.PIPE, text=True)
    while not all(path.exists() for path in paths):
        time.sleep(0.01)
    return process


def test_ctrl_c_does_not_wait_for_what_workers_do(tmp_path: Path) -> None:
    process = start_writing(tmp_path / "script.py", [tmp_path / "a", tmp_path / "b"])
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
    assert_nobody_writes(tmp_path / "a")


def test_a_killed_parent_leaves_no_orphan_that_goes_on_writing(tmp_path: Path) -> None:
    process = start_writing(tmp_path / "script.py", [tmp_path / "a"])
    process.kill()
    process.communicate()
    assert_nobody_writes(tmp_path / "a")


def assert_nobody_writes(path: Path) -> None:
    time.sleep(0.1)
    before = path.stat().st_size
    time.sleep(0.2)
    assert path.stat().st_size == before


def test_there_is_a_core_to_use() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
