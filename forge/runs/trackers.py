"""Optional trackers beside metrics.jsonl. Each is off unless `log.sinks` names it, and none asks for a login."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from forge.core.errors import UserError
from forge.core.events import Evaluated, Event, StepLogged
from forge.core.io import storage_errors

Record = Callable[[Mapping[str, float], int], None]
SENDING, CLOSING = "handing figures to log.sinks", "closing log.sinks"


class Tracker:
    """Hands figures to one tracking library, and closes it at the very end: test splits are measured after training."""

    def __init__(self, record: Record, close: Callable[[], None]) -> None:
        self._record = record
        self._close = close

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, _: object, failure: BaseException | None, __: object) -> None:
        try:
            with storage_errors(CLOSING):
                self._close()
        except Exception:
            if failure is None:  # else the run's own failure is the one to hear of
                raise

    def __call__(self, event: Event) -> None:
        """Forward logged steps and evaluations."""
        match event:
            case StepLogged(figures=figures, step=step, speed=speed):
                named = {f"train/{name}": value for name, value in figures.items()}
                self._send(named | {f"speed/{name}": value for name, value in speed.items()}, step)
            case Evaluated(figures=figures, step=step, split=split):
                split = f"average/{split}" if event.of and not event.final else split  # the step has a figure already
                self._send({f"{split}/{name}": value for name, value in figures.items()}, step)

    def _send(self, figures: Mapping[str, float], step: int) -> None:
        with storage_errors(SENDING):
            self._record(figures, step)


def _tensorboard(run_dir: Path, name: str, settings: Mapping[str, Any]) -> Tracker:  # noqa: ARG001
    from torch.utils.tensorboard import SummaryWriter

    folder = run_dir / "tensorboard"
    writers: list[SummaryWriter] = []

    def record(figures: Mapping[str, float], step: int) -> None:
        if not writers:  # what an interrupted life drew from this step on is about to come again
            writers.append(SummaryWriter(str(folder), purge_step=step if folder.is_dir() else None))
        for tag, value in figures.items():
            writers[0].add_scalar(tag, value, step)

    def close() -> None:
        for writer in writers:
            writer.close()

    return Tracker(record, close)


def _trackio(run_dir: Path, name: str, settings: Mapping[str, Any]) -> Tracker:
    import trackio

    trackio.init(project="forge", name=f"{name}/{run_dir.name}", config=dict(settings), resume="allow")
    return Tracker(lambda figures, step: trackio.log(dict(figures), step=step), trackio.finish)


def _wandb(run_dir: Path, name: str, settings: Mapping[str, Any]) -> Tracker:
    import wandb

    mode = None if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE") else "offline"
    run = wandb.init(
        project="forge", name=name, id=run_dir.name, resume="allow", dir=run_dir, config=dict(settings), mode=mode
    )
    return Tracker(lambda figures, step: run.log(dict(figures), step=step), run.finish)


def _mlflow(run_dir: Path, name: str, settings: Mapping[str, Any]) -> Tracker:
    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{(run_dir / 'mlflow.db').absolute()}")
    mlflow.set_experiment("forge")
    mlflow.start_run(run_name=name)
    mlflow.log_dict(dict(settings), "config.json")
    return Tracker(lambda figures, step: mlflow.log_metrics(dict(figures), step=step), mlflow.end_run)


MAKERS: Mapping[str, Callable[[Path, str, Mapping[str, Any]], Tracker]] = {
    "tensorboard": _tensorboard,
    "trackio": _trackio,
    "wandb": _wandb,
    "mlflow": _mlflow,
}


def make_trackers(names: list[str], run_dir: Path, name: str, settings: Mapping[str, Any]) -> list[Tracker]:
    """Trackers by name. Raises UserError with the install command for one that is not installed."""
    trackers = []
    for tracker in names:
        try:
            trackers.append(MAKERS[tracker](run_dir, name, settings))
        except ImportError as error:
            raise UserError(
                f"log.sinks: {tracker} is not installed; pip install 'forge-distill[{tracker}]', or take it out"
            ) from error
    return trackers
