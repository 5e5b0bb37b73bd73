"""Who owns a run directory: a lock that says who holds it, that can be waited for, and that dies with its process.

flock decides where it works. Some network file systems cannot lock, others lock only within one machine; there the
record of the holder decides, together with the file's time, which the holder keeps fresh.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from forge.core.errors import UserError
from forge.core.io import from_json

PATIENCE_S = 120.0  # under Slurm, where a job that starts again can meet the end of its earlier life
POLL_S = 0.5
GLANCE_S = 0.1  # `forge runs` holds the lock for an instant to see whether it is free
HEARTBEAT_S = 15.0
SILENCE_S = 60.0  # a holder on another machine is gone when it has given no sign of life for so long
SETTLE_S = 0.5  # without flock: long enough for another process that writes its record at the same moment
CANNOT_LOCK = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
IS_LOCKED = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
MOST_BYTES = 2**16  # far more than any record


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, in its own words; all empty where it left none that can be read."""

    host: str = ""
    pid: int = 0
    ticks: int = 0  # when the process began: another one may have got its pid since
    job: str = ""
    restarts: str = ""
    started: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        restarts = f", restart {self.restarts}" if self.restarts else ""
        job = f" (Slurm job {self.job}{restarts})" if self.job else ""
        return f"process {self.pid} on {self.host}{job}"

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.host == platform.node()

    def alive(self, silent_s: float) -> bool:
        """Whether it still runs, as far as can be told from here without flock."""
        if not self.here:
            return silent_s < SILENCE_S
        ticks = _ticks(self.pid)
        return ticks is not None and (not self.ticks or not ticks or ticks == self.ticks)


class RunLock:
    """The lock of one run directory. A forked child, such as a data-loader worker, does not share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._me = Holder()
        self._released = threading.Event()

    def take(self, patience_s: float | None = None, say: Callable[[str], None] | None = None) -> None:
        """Make the directory and lock it; waits for another holder to end. Raises UserError, leaving nothing behind.

        Patience is PATIENCE_S inside a Slurm job and none elsewhere; `say` is told when waiting begins.
        """
        if patience_s is None:
            patience_s = PATIENCE_S if "SLURM_JOB_ID" in os.environ else 0.0
        self._me = _myself()
        folder, began, told = self.path.parent, time.monotonic(), False
        created = _first_missing(self.path)
        while True:
            try:
                holder = self._try()
            except OSError as error:
                _take_back(self.path, created)
                raise UserError(f"run.dir: cannot write to {folder}: {os.strerror(error.errno or 0)}") from error
            if holder is None:
                break
            waited = time.monotonic() - began
            if waited >= max(patience_s, GLANCE_S):
                after = f" (waited {waited:.0f} s)" if patience_s else ""
                raise UserError(f"{folder}  is in use by {holder}{after}; wait for it, or stop it")
            if say and patience_s and not told:
                say(f"{folder} is in use by {holder}; waiting up to {patience_s:.0f} s for it to end")
                told = True
            time.sleep(POLL_S if patience_s else GLANCE_S / 5)
        self._released.clear()
        threading.Thread(target=self._keep_fresh, args=(self._released,), name="run-lock", daemon=True).start()

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._descriptor is not None

    def release(self) -> None:
        """Let go of the lock."""
        descriptor, self._descriptor = self._descriptor, None
        self._released.set()
        if descriptor is None:
            return
        _HELD.discard(self)
        with suppress(OSError):
            if _read(self.path)[0] == self._me:
                os.ftruncate(descriptor, 0)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        with suppress(OSError):
            os.close(descriptor)

    def heartbeat(self) -> None:
        """Give a sign of life, for machines that cannot see this process."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.utime(self.path)

    def _keep_fresh(self, released: threading.Event) -> None:
        # Progress alone is no sign of life: an evaluation or a teacher's pass can take longer than SILENCE_S.
        while not released.wait(HEARTBEAT_S):
            self.heartbeat()

    def _try(self) -> Holder | None:
        """Take the lock, or return who holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        _HELD.add(self)
        try:
            other = self._settle(descriptor)
        except BaseException:
            self._forget()
            raise
        if other is not None:
            self._forget()
        return other

    def _settle(self, descriptor: int) -> Holder | None:
        locked = _flock(descriptor, fcntl.LOCK_EX)
        holder, silent_s = _read(self.path)
        if locked is False:
            return holder or Holder()
        if not _same_file(descriptor, self.path):  # the directory was deleted meanwhile
            return Holder()
        if holder and _outlives(holder, silent_s, locked):
            return holder
        content = json.dumps(asdict(self._me)).encode()
        try:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
            os.fsync(descriptor)
            if locked is None:
                time.sleep(SETTLE_S)
                winner = _read(self.path)[0]
                return None if winner == self._me else winner or Holder()
        except BaseException:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            raise
        return None

    def _forget(self) -> None:
        """Close the file. Done in each forked child: a worker that outlives the trainer would keep its lock."""
        descriptor, self._descriptor = self._descriptor, None
        _HELD.discard(self)
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a run directory, seen from outside and without writing."""
    holder, silent_s = _read(path)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return holder is not None and holder.alive(silent_s)
    try:
        locked = _flock(descriptor, fcntl.LOCK_SH)
    except OSError:
        locked = None
    finally:
        os.close(descriptor)  # and with it the lock, if it was to be had
    if locked is False:
        return True
    return holder is not None and _outlives(holder, silent_s, locked)


_HELD: set[RunLock] = set()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock._forget()


os.register_at_fork(after_in_child=_forget_all)


def _outlives(holder: Holder, silent_s: float, locked: bool | None) -> bool:
    """Whether a recorded holder counts although flock was to be had (where it may not reach beyond this machine)."""
    known_gone = locked and (holder.here or not holder.pid)
    return not known_gone and holder.alive(silent_s)


def _flock(descriptor: int, kind: int) -> bool | None:
    """Whether the lock was to be had; None where the file system cannot lock."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in CANNOT_LOCK:
            return None
        if error.errno in IS_LOCKED:
            return False
        raise
    return True


def _read(path: Path) -> tuple[Holder | None, float]:
    """The record in a lock file, and the seconds since its last sign of life. None where there is no record."""
    try:
        silent_s = time.time() - path.stat().st_mtime
    except OSError:
        return None, 0.0
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES)
        if not text:
            return None, silent_s
        record = from_json(text)
        holder = Holder(**{field.name: record[field.name] for field in fields(Holder)})
    except (OSError, ValueError, TypeError, KeyError):
        return Holder(), silent_s  # being written, damaged, or not for this user
    well_formed = all(type(getattr(holder, field.name)) is type(field.default) for field in fields(Holder))
    return holder if well_formed else Holder(), silent_s


def _myself() -> Holder:
    job, restarts = (os.environ.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"))
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return Holder(platform.node(), os.getpid(), _ticks(os.getpid()) or 0, job, restarts, started)


def _ticks(pid: int) -> int | None:
    """When a process of this machine began, 0 where that is not to be learned; None for one that has ended."""
    if pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (ProcessLookupError, OverflowError):
        return None
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if after_name[0] in {"Z", "X"} else int(after_name[19])
    except (OSError, ValueError, IndexError):
        return 0


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _first_missing(path: Path) -> Path | None:
    missing = None
    with suppress(OSError):  # a folder that may not be looked into is there
        while not path.exists():
            missing, path = path, path.parent
    return missing


def _take_back(lock: Path, created: Path | None) -> None:
    """Remove what a failed claim has made, and nothing that another process put there."""
    if created is None:
        return
    with suppress(OSError):
        if not lock.stat().st_size:
            lock.unlink()
    folder = lock.parent
    while folder.is_relative_to(created):
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return
        folder = folder.parent
