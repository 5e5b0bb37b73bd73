"""A trainer reduced to its contract, for tests of run_training.sh: `stand_in.py -c …` or `stand_in.py forge.py …`.

STAND_IN says how a life goes: an exit code to leave with at once, `save` (save and leave with 75 when asked to stop),
`ignore` (note signals, leave with 0 after two seconds), `killed` (by SIGKILL). STAND_IN_RUN is its run directory.
STAND_IN_NOTES holds what the processes of a run of several leave behind, a line each; STAND_IN_FILLS, how many shards
of a teacher's cache this life makes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> int:
    run, life = Path(os.environ["STAND_IN_RUN"]), os.environ["STAND_IN"]
    if sys.argv[1] == "-c":  # the wrapper asks where the run goes
        print(run)
        return 0
    run.mkdir(parents=True, exist_ok=True)
    got: list[str] = []

    def handle(number: int, _: object) -> None:
        got.append(signal.Signals(number).name)
        (run / "signals.json").write_text(json.dumps(got))

    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    with (run / "lives.jsonl").open("a") as lives:
        lives.write(json.dumps(sys.argv[1:]) + "\n")
    leave_notes(run, os.environ.get("STAND_IN_NOTES", ""))
    fill(run, int(os.environ.get("STAND_IN_FILLS", "0")))
    end = time.monotonic() + 2
    match life:
        case "save":
            while not got:
                time.sleep(0.02)
            time.sleep(0.5)  # a save takes its time, and a second signal may come
            save(run)
            return 75
        case "ignore":
            while time.monotonic() < end:
                time.sleep(0.02)
            return 0
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    if life == "75+":  # with progress
        save(run)
        return 75
    return int(life)


def leave_notes(run: Path, notes: str) -> None:
    if notes == "running":
        (run / "training_state.json").write_text('{\n  "status": "running"\n}\n')
        return
    for rank, note in enumerate(notes.splitlines()):
        Path(os.environ["FORGE_EXIT_NOTES"], str(rank)).write_text(f"{note}\n")


def fill(run: Path, shards: int) -> None:
    cache = run.parent / "teacher cache" / "abc"
    (cache / "logits").mkdir(parents=True, exist_ok=True)
    (run / "run_metadata.json").write_text(json.dumps({"teacher_cache": str(cache), "lives": []}, indent=2))
    begun = len(list(cache.glob("logits/0*")))
    for shard in range(begun, begun + shards):
        (cache / "logits" / f"{shard:05d}.safetensors").touch()
    (cache / "logits" / ".00009.safetensors.7@host.tmp").touch()  # a life that was killed inside a shard


def save(run: Path) -> None:
    folder = run / f"checkpoint-{1 + len(list(run.glob('checkpoint-*')))}"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")


if __name__ == "__main__":
    sys.exit(main())
