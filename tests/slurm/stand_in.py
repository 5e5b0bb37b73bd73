"""A trainer reduced to its contract, for tests of run_training.sh: `stand_in.py -c …` or `stand_in.py forge.py …`.

STAND_IN says how a life goes: an exit code to leave with at once, `save` (save and leave with 75 when asked to stop),
`ignore` (note signals, leave with 0 after two seconds), `killed` (by SIGKILL). STAND_IN_RUN is its run directory.
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


def save(run: Path) -> None:
    folder = run / f"checkpoint-{1 + len(list(run.glob('checkpoint-*')))}"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")


if __name__ == "__main__":
    sys.exit(main())
