"""Arguments → one verb. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from forge.cli_options import (
    add_evaluate_options,
    add_learn_options,
    add_predict_options,
    add_study_options,
    add_workbench_options,
)
from forge.core.errors import EXIT_DONE, ConfigError, ForgeError, Problem, StoppedError, UserError, note_exit
from forge.core.io import FULL, storage_errors
from forge.core.version import VERSION

if TYPE_CHECKING:
    from forge.train.signals import StopRequest

EXIT_INTERRUPTED = 130
EXIT_INTERNAL = 1
TELL_SECONDS = 10.0  # within these the first of several processes meets what another has met, or never will
OVERRIDES = "--max_steps 10, --train.learning_rate 2e-5 and train.learning_rate=2e-5 all set a key of the configuration"
SHOWN_SPLITS = ("validation", "test")

Verb = Callable[[argparse.Namespace, list[str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code (0 done, 2 bad input, 3 checkpoint, 4 diverged, 5 disk, 75 saved)."""
    code, why = _run(list(sys.argv[1:] if arguments is None else arguments))
    note_exit(code, why)
    return code


def _run(words: list[str]) -> tuple[int, str]:
    """The exit code, and what went wrong."""
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with storage_errors("running this command", FULL):
            code = _dispatch(words)
            sys.stdout.flush()  # here a full disk can still be told of
        return code, ""
    except ForgeError as error:
        if debug:
            raise
        _let_go(sys.stdout)
        _say(str(error))
        return error.exit_code, str(error)
    except KeyboardInterrupt:
        _say("interrupted; the same command continues from the newest checkpoint")
        return EXIT_INTERRUPTED, ""
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_DONE, ""
    except Exception as error:
        if debug:
            raise
        why = f"{type(error).__name__}: {error}"
        _say(f"internal error, {why}; run again with --debug for the traceback and report it")
        return EXIT_INTERNAL, why


def _dispatch(words: list[str]) -> int:
    parser = _parser()
    verbs = {"train", "config", "prepare", "evaluate", "predict", "export", "runs", "study", "workbench", "learn"}
    if not words:
        parser.print_help()
        return EXIT_DONE
    # `train` is the default verb, so that `forge.py --config x.yaml` is all one needs to know.
    if not words[0].startswith("-") and words[0] not in verbs and "=" not in words[0]:
        is_file = words[0].endswith((".yaml", ".yml"))
        hint = f"did you mean --config {words[0]}?" if is_file else f"verbs are {', '.join(sorted(verbs))}"
        raise UserError(f"no verb '{words[0]}'; {hint}")
    if words[0] not in verbs and words[0] not in {"-h", "--help", "--version"}:
        words = ["train", *words]
    options, rest = parser.parse_known_args(words)
    verb: Verb = options.run
    return verb(options, rest)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise UserError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="forge",
        description="From one YAML file: fine-tune, distil or reinforce a small model.",
        epilog=f"Any other flag is a setting: {OVERRIDES}. `forge config explain KEY` says what a key means.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"forge {VERSION}")
    verbs = parser.add_subparsers(title="verbs (train is the default)", metavar="VERB", parser_class=_Parser)

    def verb(name: str, run: Verb, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    for name, run, text in (
        ("train", _train, "train, or continue, the run that a configuration describes"),
        ("prepare", _prepare, "fetch models and data for a machine without network"),
    ):
        made = verb(name, run, text)
        made.add_argument("--config", required=True, metavar="FILE", help="the run's YAML file")
    _add_config_verb(verb("config", _config, "show, check, explain and compare configurations"))
    evaluate = verb("evaluate", _evaluate, "measure a run's model, or texts in files; compare two of either")
    predict = verb("predict", _predict, "labels, translations or Markdown: of arguments, files or standard input")
    add_evaluate_options(evaluate)
    add_predict_options(predict)
    runs = verb("runs", _runs, "list all runs: how each stands, and what to type next")
    runs.add_argument("folder", nargs="?", default="runs", metavar="DIR", help="where to look (default: runs)")
    runs.add_argument(
        "--state", metavar="S", help="only running, completed, interrupted, failed, stale, or unreadable runs"
    )
    runs.add_argument("--json", action="store_true", help="print all that is known as JSON")
    add_study_options(verb("study", _study, "run, watch and report factorial studies: which parts of a recipe help"))
    add_workbench_options(
        verb("workbench", _workbench, "what a run's model learned: its layers, its answers, its teacher's")
    )
    add_learn_options(verb("learn", _learn, "from zero to Forge: eighteen lessons, each with a live experiment"))
    export = verb("export", _export, "write a model folder with a model card")
    export.add_argument("--out", required=True, metavar="DIR", help="a new directory")
    export.add_argument("--format", choices=("hub", "ctranslate2"), default="hub", help="what loads it (default: hub)")
    export.add_argument("--quantization", metavar="TYPE", help="ctranslate2: int8, float16, … (default: float32)")
    export.add_argument("--push", metavar="USER/NAME", help="upload it to the hub, with the stored login")
    export.add_argument("--private", action="store_true", help="make the pushed repository private")
    for made in (evaluate, predict, export):
        made.add_argument("--run", dest="run_dir", required=made is not evaluate, metavar="R", help="a run directory")
        made.add_argument("--checkpoint", default="best", metavar="N", help="best (the default), last, average, a step")
    return parser


def _add_config_verb(made: argparse.ArgumentParser) -> None:
    made.add_argument("action", choices=("show", "validate", "explain", "diff", "schema"))
    made.add_argument("words", nargs="*", metavar="FILE|KEY", help="explain: KEY; diff: two files")
    made.add_argument("--config", metavar="FILE")
    made.add_argument("--sources", action="store_true", help="show: who set each value")
    made.add_argument("--changed", action="store_true", help="show: only what differs from the defaults")


def _train(options: argparse.Namespace, overrides: list[str]) -> int:
    from forge.train.signals import follow_launcher, listening

    with listening() as stop:
        follow_launcher()
        try:
            return _train_heeding(stop, options, overrides)
        except StoppedError:
            raise
        except Exception as error:
            _say_if_alone(error, stop)
            raise


def _say_if_alone(error: Exception, stop: StopRequest) -> None:
    """Of several processes, say what only this one met.

    The first speaks for all, but the end of one makes the launcher end the others: they wait until it has spoken. Who
    is not ended within that time was alone with its error.
    """
    rank = os.environ.get("RANK", "0")
    if rank != "0" and not stop.asked_within(TELL_SECONDS):
        why = str(error) if isinstance(error, ForgeError) else f"{type(error).__name__}: {error}"
        _tell(f"process {rank}: {why}")


def _train_heeding(stop: StopRequest, options: argparse.Namespace, overrides: list[str]) -> int:
    from forge.config import resolve
    from forge.preflight import completed_run, preflight

    resolved = resolve(options.config, overrides)
    main_process = os.environ.get("RANK", "0") == "0"
    run = completed_run(resolved)
    if run is None:
        found = preflight(resolved)
        run = found.run
        if not run.completed_with(resolved.settings.checkpoint.average):
            from forge.assemble import train

            train(found, sys.argv, stop)
            if main_process:
                _print_outputs(run.path)
            return EXIT_DONE
    if main_process:
        _print_result(run.path, run.state())
        _print_outputs(run.path)
    return EXIT_DONE


def _print_result(path: Path, state: dict[str, object]) -> None:
    from forge.core.manifest import average_of

    print(f"{path}\nthis run is complete: {state.get('reason', '')}")
    average = average_of(state)
    measured = "average" if average.get("chosen") else "best checkpoint"
    for kind in SHOWN_SPLITS:
        splits = state.get(kind)
        for split, figures in splits.items() if isinstance(splits, dict) else ():
            note = " (last evaluation)" if kind == "validation" else f" ({measured})"
            print(f"  {split}{note}: " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    best = state.get("best")
    if isinstance(best, dict):
        print(f"  best {best['metric']} {best['value']:.4f}, checkpoint-{best['step']}")
        if average.get("of"):
            what = f"average of {len(average['of'])} checkpoints"
            print(f"  {best['metric']} {average['value']:.4f}, {what}{', the result' if average['chosen'] else ''}")


def _print_outputs(path: Path) -> None:
    print("outputs:")
    for name in ("output.log", "run_metadata.json", "training_state.json", "metrics.jsonl", "report.html"):
        print(f"  {path / name}")
    print(f"next: python forge.py predict --run {path}   (or evaluate, export)")


def _config(options: argparse.Namespace, overrides: list[str]) -> int:
    from forge.config import explain, resolve

    # argparse hands over a word that stands after a flag as unknown; here it is a file or a key like any other.
    complete = bool(options.words) or (options.config and options.action in {"show", "validate"})
    plain = [] if complete else [word for word in overrides if not word.startswith("-") and "=" not in word]
    words: list[str] = [*options.words, *plain]
    overrides = [word for word in overrides if word not in plain]
    if options.action == "schema":
        print(json.dumps(explain.json_schema(), indent=2, ensure_ascii=False))
        return EXIT_DONE
    if options.action == "diff":
        if len(words) != 2:
            raise UserError("config diff takes two files")
        print(explain.diff_text(resolve(words[0], overrides), resolve(words[1], overrides)))
        return EXIT_DONE
    key = words.pop(0) if options.action == "explain" and words else None
    file = options.config or (words.pop(0) if words else None)
    if key and file is None:
        print(explain.explain(key))
        return EXIT_DONE
    if file is None:
        raise UserError(f"config {options.action} needs --config FILE")
    resolved = resolve(file, [*words, *overrides])
    if options.action == "show":
        print(explain.show(resolved, sources=options.sources, changed=options.changed), end="")
    elif options.action == "explain":
        if key is None:
            raise UserError("config explain needs a KEY, for example train.learning_rate")
        print(explain.explain(key, resolved))
    else:
        print(f"{file}: valid; {resolved.mode_line}")
        for warning in resolved.warnings:
            print(f"warning: {warning}")
    return EXIT_DONE


def _prepare(options: argparse.Namespace, overrides: list[str]) -> int:
    from forge.config import resolve
    from forge.fetch import prepare

    resolved = resolve(options.config, overrides)
    for line in prepare(resolved):
        print(line)
    if resolved.mode == "kd":
        from forge.assemble import fill_cache
        from forge.preflight import preflight

        fill_cache(preflight(resolved), print)
    return EXIT_DONE


def _evaluate(options: argparse.Namespace, rest: list[str]) -> int:
    _refuse(rest)
    from forge.evaluate import evaluate
    from forge.runs.run_dir import open_existing

    said = evaluate(options)
    if said is None:
        run = open_existing(options.run_dir)
        _print_result(run.path, run.state())
    else:
        print(said)
    return EXIT_DONE


def _predict(options: argparse.Namespace, rest: list[str]) -> int:
    # argparse hands over a text or file that stands after a flag as unknown; here it is one like any other.
    options.texts += [word for word in rest if not word.startswith("-")]
    _refuse([word for word in rest if word.startswith("-")])
    from forge.predict import predict

    return predict(options, sys.stdout)


def _export(options: argparse.Namespace, rest: list[str]) -> int:
    _refuse(rest)
    from forge.runs.export import export, push
    from forge.runs.run_dir import open_existing

    run, folder = open_existing(options.run_dir), Path(options.out)
    if options.format == "ctranslate2":
        from forge.runs.export_ctranslate2 import export_ctranslate2

        written = export_ctranslate2(run, folder, options.checkpoint, options.quantization or "float32")
    elif options.quantization:
        raise UserError("--quantization goes with --format ctranslate2")
    else:
        written = export(run, folder, options.checkpoint)
    for path in written:
        print(path)
    if options.push:
        print(push(folder, options.push, options.private))
    return EXIT_DONE


def _runs(options: argparse.Namespace, rest: list[str]) -> int:
    _refuse(rest)
    from forge.runs.listing import list_runs, plain_table, rich_table

    runs = list_runs(Path(options.folder), options.state)
    if options.json:
        print(json.dumps([run.as_json() for run in runs], indent=2))
    elif not runs:
        print(f"no {options.state + ' ' if options.state else ''}runs below {options.folder}")
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich_table(runs))
    else:
        print(plain_table(runs))
    return EXIT_DONE


def _study(options: argparse.Namespace, rest: list[str]) -> int:
    from forge.study.verb import study

    return study(options, rest)


def _workbench(options: argparse.Namespace, rest: list[str]) -> int:
    # argparse hands over a run that stands after a flag as unknown; here it is one like any other.
    options.words += [word for word in rest if not word.startswith("-")]
    _refuse([word for word in rest if word.startswith("-")])
    from forge.workbench.verb import workbench

    print(workbench(options))
    return EXIT_DONE


def _learn(options: argparse.Namespace, rest: list[str]) -> int:
    _refuse(rest)
    from forge.learn.main import learn

    return learn(options)


def _refuse(rest: list[str]) -> None:
    if rest:
        raise ConfigError([Problem(f"unknown argument {word}", hint="see --help") for word in rest])


def _say(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # one voice where several processes meet the same error
        _tell(message)


def _tell(message: str) -> None:
    with suppress(OSError):
        print(f"forge: {message}" if "\n" not in message else message, file=sys.stderr, flush=True)
    _let_go(sys.stderr)


def _let_go(stream: TextIO) -> None:
    """Drop what cannot be written: Python would try again at its end, and change the exit code."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
