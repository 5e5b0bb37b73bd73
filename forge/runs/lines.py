"""One event, one line: what output.log says."""

from __future__ import annotations

from forge.core.events import CheckpointSaved, Evaluated, Event, Finished, Notice, Started, StepLogged

NORM = "grad_norm."  # begins the figures of single terms of the loss


def describe(event: Event, total_steps: int) -> str | None:
    """The line for an event; None for what is not news."""
    match event:
        case Notice(text=text, level=level):
            return f"warning: {text}" if level == "warning" else text
        case Started(step=0):
            return f"training starts: {event.total_steps:,} steps"
        case Started(step=step):
            return f"training continues after step {step:,} of {event.total_steps:,}"
        case StepLogged():
            return _step_line(event, total_steps)
        case Evaluated(split=split, step=step, figures=figures, seconds=seconds, final=final):
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            which = "the average" if event.of else f"best checkpoint (step {step})" if final else f"step {step}"
            examples = f"{event.detail.get('examples', '?')} examples, {seconds:.1f} s"
            return f"evaluation of {split} at {which}:  {shown}  ({examples})"
        case CheckpointSaved(name=name, best=best, seconds=seconds):
            return f"saved {name} in {seconds:.2f} s" + ("  (best so far)" if best else "")
        case Finished(reason=reason, seconds=seconds):
            return f"training ends: {reason}, {duration(seconds)}"
    return None


def _step_line(event: StepLogged, total_steps: int) -> str:
    width = len(str(total_steps))
    figures = dict(event.figures)
    loss, rate, norm = figures.pop("loss"), figures.pop("learning_rate"), figures.pop("grad_norm", 0.0)
    parts = "".join(f"  {name} {value:.4f}" for name, value in figures.items() if "." not in name)
    norms = {name.removeprefix(NORM): value for name, value in figures.items() if name.startswith(NORM)}
    shown = f"  (weighted gradients: {', '.join(f'{name} {value:.3g}' for name, value in norms.items())})"
    left = (total_steps - event.step) * event.speed["seconds_per_step"]
    return (
        f"step {event.step:>{width}}/{total_steps}  loss {loss:.4f}{parts}  grad {norm:.2f}  lr {rate:.2e}  "
        f"epoch {event.epoch:.2f}  {event.speed['tokens_per_second']:,.0f} tokens/s  {duration(left)} left"
        f"{shown if norms else ''}"
    )


def duration(seconds: float) -> str:
    """A time span for people: 42 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
