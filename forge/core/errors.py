"""Every error that Forge raises on purpose, and the exit code it ends with.

    ForgeError            1  never raised itself
    ├── UserError         2  bad configuration or input: the person at the keyboard can mend it
    │   └── ConfigError   2  the same, with every problem of a configuration in one pass
    ├── CheckpointError   3  no good checkpoint to continue from
    ├── DivergedError     4  the loss or a gradient is not finite
    ├── StorageError      5  the disk is full or cannot be written
    └── StoppedError     75  asked to stop, saved: the same command continues

A ForgeError is shown as its message alone; a traceback appears only with ``--debug``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EXIT_DONE = 0
EXIT_SAVED_RUN_ME_AGAIN = 75


def note_exit(code: int, why: str = "") -> None:
    """Leave the exit code where run_training.sh looks for it: the launcher of several processes turns each into 1."""
    if folder := os.environ.get("FORGE_EXIT_NOTES"):
        with suppress(OSError):  # a disk that is full is one of the reasons to end
            Path(folder, os.environ.get("RANK", "0")).write_text(f"{code} {' '.join(why.split())}\n", encoding="utf-8")


class ForgeError(Exception):
    """Base of all errors with a message meant for the person who runs Forge."""

    exit_code = 1


class UserError(ForgeError):
    """The configuration or the input is wrong; nothing was started."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where (``path:line:col`` or empty), what, and what to do about it."""

    message: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}  {self.message}" if self.where else self.message
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(UserError):
    """All problems that one pass over a configuration found, a line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class CheckpointError(ForgeError):
    """No checkpoint can be loaded, or the one asked for is damaged."""

    exit_code = 3


class DivergedError(ForgeError):
    """Training left the finite numbers; the message names the step."""

    exit_code = 4


class StorageError(ForgeError):
    """The disk is full or not writable; what was saved before is still good."""

    exit_code = 5


class StoppedError(ForgeError):
    """The run was asked to stop and did, with everything saved: the same command continues."""

    exit_code = EXIT_SAVED_RUN_ME_AGAIN
