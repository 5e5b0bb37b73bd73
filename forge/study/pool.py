"""Workers: each piece of work in a process of its own, forked from one that has all imports behind it.

A process that dies takes its own work with it and nothing else. When the study's process dies, its workers save and
leave. No torch here.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from forge.core.errors import EXIT_SAVED_RUN_ME_AGAIN, ForgeError
from forge.core.io import read_json

WARM = "forge.study.warm"
MODELS = "FORGE_STUDY_MODELS"
"""The environment variable that tells WARM the kinds of models, as transformers calls their modules."""
INTERNAL = 1
BUSY = 76
"""A worker's exit code where another process has the run that it was to continue."""
EMBEDDED = {"distilbert": "distilbert", "bert": "bert", "marian": "marian", "reader": "trocr,vision_encoder_decoder"}


@dataclass(frozen=True)
class Task:
    """A piece of work in words that another process understands."""

    config: str  # the study's file
    overrides: tuple[str, ...]
    kind: str  # teacher | start | matching | teacher_cache | cell
    name: str
    identity: str
    cell: str = ""
    seed: int = 0
    log: str = ""


@dataclass
class Slot:
    """A place for one process, and the device that is its own."""

    number: int
    device: str | None = None
    task: Task | None = None
    process: ForkServerProcess | None = None


@dataclass
class Pool:
    """So many processes at a time."""

    work: Callable[[Task], None]
    devices: Sequence[str | None]
    slots: list[Slot] = field(init=False)
    _context: ForkServerContext = field(init=False)

    def __post_init__(self) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # To ask CUDA itself whether there are GPUs would make it useless in every process that is forked later.
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([WARM])
        self.slots = [Slot(number, device) for number, device in enumerate(self.devices)]

    def free(self) -> Slot | None:
        """A place where nothing runs."""
        return next((slot for slot in self.slots if slot.process is None), None)

    def running(self) -> list[Task]:
        """What is being worked on."""
        return [slot.task for slot in self.slots if slot.task]

    def start(self, slot: Slot, task: Task) -> None:
        """Give a free place something to do."""
        slot.task = task
        slot.process = self._context.Process(target=_live, args=(self.work, task, slot.device), name=task.name)
        slot.process.start()

    def ended(self, seconds: float) -> list[tuple[Task, int]]:
        """What has ended, after waiting so long for it: tasks with their exit codes, negative for a signal."""
        busy = [slot for slot in self.slots if slot.process]
        if not busy:
            time.sleep(seconds)
        connection.wait([slot.process.sentinel for slot in busy if slot.process], timeout=seconds)
        done: list[tuple[Task, int]] = []
        for slot in busy:
            assert slot.process
            assert slot.task
            if not slot.process.is_alive():
                slot.process.join()
                done.append((slot.task, slot.process.exitcode or 0))
                slot.task = slot.process = None
        return done

    def ask_to_stop(self) -> None:
        """Let every process save and leave."""
        for slot in self.slots:
            if slot.process and slot.process.pid:
                with suppress(ProcessLookupError):
                    os.kill(slot.process.pid, signal.SIGTERM)


def _live(work: Callable[[Task], None], task: Task, device: str | None) -> None:
    """The life of a worker's process."""
    os.setsid()  # Ctrl-C is for the study's process, which then asks
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    with suppress(OSError):
        _speak_into(Path(task.log))
    _follow_parent()
    try:
        work(task)
        code = 0
    except ForgeError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201  its log
        code = error.exit_code
    except SystemExit:
        raise
    except KeyboardInterrupt:
        code = EXIT_SAVED_RUN_ME_AGAIN
    except BaseException:
        traceback.print_exc()
        code = INTERNAL
    sys.exit(code)


def _speak_into(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)


def _follow_parent() -> None:
    """Be asked to stop when the study's process dies."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="study-parent", daemon=True).start()


def devices(workers: int | None) -> list[str | None]:
    """A place for each worker: by default one a GPU, or two on a machine without."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        gpus = [name for name in told.split(",") if name.strip() and name != "-1"]
    else:
        gpus = [str(number) for number, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]
    if not gpus:
        return [None] * (workers or 2)
    return [gpus[number % len(gpus)] for number in range(workers or len(gpus))]


def model_kinds(locations: Sequence[str]) -> str:
    """What transformers calls the modules of these models: of those that Forge carries, and of directories."""
    kinds: list[str] = []
    for location in locations:
        own = next(
            (EMBEDDED[word] for word in EMBEDDED if location.startswith(("embedded/", "built/")) and word in location),
            "",
        )
        kinds += own.split(",") if own else _kinds_of(Path(location))
    return ",".join(dict.fromkeys(kinds))


def _kinds_of(folder: Path) -> list[str]:
    try:
        config = read_json(folder / "config.json")
        parts = [config, *(value for value in config.values() if isinstance(value, dict))]
    except (OSError, ValueError, AttributeError):
        return []
    return [str(part["model_type"]).replace("-", "_") for part in parts if "model_type" in part]
