"""Helpers shared by tests: tiny configurations, the command line in process, lives that can be killed."""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from forge.tasks.embedded import nli, translation
from forge.train.signals import StopRequest

ROOT = Path(__file__).parent.parent

TINY: dict[str, Any] = {
    "task": "classification",
    "data": {
        "name": "embedded/nli",
        "train": "train",
        "validation": "validation",
        "test": "test",
        "embedded": {"train_size": 200},
    },
    "model": {"name": "embedded/tiny-distilbert", "dropout": 0.1},
    "train": {"max_steps": 6, "batch_size": 16, "micro_batch_size": 8, "learning_rate": 1e-3, "threads": 1},
    "evaluate": {"max_examples": 64, "every": 3},
    "log": {"every": 1},
}


def children() -> set[int]:
    """Process ids of this process's children, dead ones that nobody has waited for among them."""
    found = Path("/proc/self/task").glob("*/children")
    return {int(word) for path in found for word in path.read_text().split()}


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with `change` laid over it."""
    out = dict(base)
    for key, value in change.items():
        below = base.get(key)
        out[key] = merged(below if isinstance(below, dict) else {}, value) if isinstance(value, dict) else value
    return out


def write_config(folder: Path, change: dict[str, Any] | None = None, name: str = "tiny") -> Path:
    """A tiny run's YAML in `folder`, its runs going to `folder/runs`."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = merged(TINY | {"run": {"dir": str(folder / "runs")}}, change or {})
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def forge(*arguments: str | Path) -> int:
    """The command line in this process."""
    from forge.cli import main

    return main([str(argument) for argument in arguments])


def trained(folder: Path, change: dict[str, Any] | None = None) -> Path:
    """The run of a configuration in `folder`, at its end."""
    assert forge("--config", write_config(folder, change)) == 0
    return only_run(folder)


def only_run(folder: Path) -> Path:
    """The one run directory below `folder/runs`."""
    found = [path.parent for path in (folder / "runs").rglob("run_metadata.json") if not path.parent.is_symlink()]
    assert len(found) == 1, found
    return found[0]


def metrics(run: Path, with_time: bool = False) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl, wall times left out."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return records if with_time else [{k: v for k, v in record.items() if k != "time"} for record in records]


def fingerprint(run: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on how often it was killed."""
    state = json.loads((run / "training_state.json").read_text(encoding="utf-8"))
    last = run / state["checkpoint"]
    files = json.loads((last / "manifest.json").read_text(encoding="utf-8"))["files"]
    names = sorted(path.name for path in run.glob("checkpoint-*"))
    return {"state": state, "metrics": metrics(run), "files": files, "checkpoints": names}


def result(run: Path) -> dict[str, Any]:
    """The fingerprint without the names of checkpoints: a save on request leaves others, and the last is the result."""
    return {key: value for key, value in fingerprint(run).items() if key != "checkpoints"}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for made in sockets:
            made.bind(("", 0))
        return [made.getsockname()[1] for made in sockets]


def launcher() -> list[str]:
    """The words that start a program on two processes of this machine, as `run_training.sh` does."""
    handled = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        f"--master_port={free_ports(1)[0]}",
    ]
    return [*torchrun, f"--signals-to-handle={handled}", "--shutdown-timeout=100"]


class AskAt(StopRequest):
    """Asks for a stop when it has been looked at so many times: every look is one boundary."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    @property
    def why(self) -> str:
        self.left -= 1
        return "the test" if self.left < 0 else ""


class Lives:
    """Starts Forge again and again from a process that has its imports behind it; a life can be killed."""

    def __init__(self, server: str = __file__) -> None:
        self._server = subprocess.Popen(
            [sys.executable, server, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )
        assert self._read() == "ready"

    def run_until(
        self,
        arguments: list[str],
        reached: Callable[[], bool],
        then: float,
        patience: float = 60.0,
        send: Callable[[int], None] = lambda pid: os.kill(pid, signal.SIGKILL),
    ) -> int:
        """One life, ended by `send` so many seconds after `reached`, or when that takes too long. Its wait status."""
        self._write(json.dumps(arguments))
        pid = int(self._read())
        deadline = time.monotonic() + patience
        while not reached() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(then)
        send(pid)  # a zombie until the server reaps it, so the pid is still its own
        self._write("wait")
        return int(self._read())

    def run_pair(self, config: Path) -> None:
        """A run on two processes of this machine, to its end, which both reach with their process group taken down.

        A process that ends inside its group is sometimes aborted by the group's threads: too rare to be met here.
        The two are forked where `torchrun` would start them; `pair.py` has tests with a real one.
        """
        said = [config.with_suffix(f".{rank}.txt") for rank in (0, 1)]
        (port,) = free_ports(1)
        environments = [
            {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
            for rank in (0, 1)
        ]
        self._write(json.dumps(["pair", ["--config", str(config)], environments, [str(path) for path in said]]))
        statuses = json.loads(self._read())
        assert statuses == [0, 0], said[0].read_text()[-2_000:] + said[1].read_text()[-2_000:]

    def run(self, arguments: list[str], kill_after: float | None = None) -> int:
        """One life; killed with SIGKILL after so many seconds unless it ends before. Returns its wait status."""
        self._write(json.dumps(arguments))
        pid = int(self._read())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)  # a zombie until the server reaps it, so the pid is still its own
        self._write("wait")
        return int(self._read())

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)

    def _write(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")
        self._server.stdin.flush()

    def _read(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()


def remember_texts() -> None:
    """Embedded texts of the same settings are made once a process: they are half the time of a tiny run.

    A test of the generators that imports them at its top has them as they are.
    """
    for module in (nli, translation):
        module.generate = functools.cache(module.generate)  # type: ignore[attr-defined]


def import_libraries() -> None:
    """What a run imports at its start, and a distillation run with a report later, and the texts of tiny runs."""
    remember_texts()
    for split, size in (("train", TINY["data"]["embedded"]["train_size"]), ("validation", 2_000), ("test", 2_000)):
        nli.generate(split, size, seed=0, difficulty=0.5)
    bert, distilbert = (f"transformers.models.{name}.modeling_{name}" for name in ("bert", "distilbert"))
    drawing = ("matplotlib.figure", "matplotlib.backends.backend_svg")
    for library in ("forge.assemble", *drawing, "sklearn.metrics", bert, distilbert):
        importlib.import_module(library)


def serve(life: Callable[[list[str]], int] | None = None) -> None:
    """Be the server of `Lives`: one forked process for each line of arguments, by default a command line of Forge."""
    import_libraries()
    from forge.cli import main

    live = life or main
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked[:1] == ["pair"]:
            _, arguments, environments, outputs = asked
            pids = [
                _forked(_in_a_group, arguments, output, environment)
                for environment, output in zip(environments, outputs, strict=True)
            ]
            print([os.waitpid(pid, 0)[1] for pid in pids], flush=True)
            continue
        pid = _forked(live, asked)
        print(pid, flush=True)
        sys.stdin.readline()
        print(os.waitpid(pid, 0)[1], flush=True)


def _forked(
    live: Callable[[list[str]], int],
    arguments: list[str],
    output: str = os.devnull,
    more: Mapping[str, str] | None = None,
) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.environ.update(more or {})
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(written, stream)
    os._exit(live(arguments))


def _in_a_group(arguments: list[str]) -> int:
    """A command line of Forge as one of two processes, which must have left their group at its end."""
    import torch

    from forge.cli import main

    signal.alarm(300)  # one whose partner died would wait for it
    try:
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
        code = 70
    if torch.distributed.is_initialized():
        print("ended inside its process group", file=sys.stderr)
        code = 71
    sys.stdout.flush()
    return code


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    serve()
