"""What run_training.sh decides, with recorders for Slurm's programs. The real Slurm is in test_real_slurm.py."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm.cluster import wait_for
from support import ROOT

from forge.train.signals import TOO_EARLY

SCRIPT = ROOT / "run_training.sh"
TOOLS = (
    *("bash", "cat", "dirname", "env", "grep", "head", "hostname", "kill", "ls", "mkdir", "mktemp", "mv", "rm", "sed"),
    *("setpriv", "sh", "sleep", "sort", "tail", "timeout", "tr"),
)
RUNNING = "JobId=7 ArrayJobId=6 JobName=forge JobState=RUNNING Reason=None Restarts=0 PreemptTime=None Command=/x"
ENDING = RUNNING.replace("RUNNING", "COMPLETING")


class Shell:
    """A folder with a PATH of its own: recorders for Slurm's programs, and the few tools that the script may use."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.run_dir = folder, folder / "bin", folder / "runs" / "tiny" / "42-abc"
        self.bin.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        self.config = folder / "a b.yaml"
        self.config.write_text("task: classification\n")
        python = self.program("trainer", f'exec {sys.executable} {ROOT}/tests/slurm/stand_in.py "$@"')
        self.environment = {
            "PATH": str(self.bin),
            "FORGE_PYTHON": str(python),
            "STAND_IN_RUN": str(self.run_dir),
            "CALLS": str(folder / "calls"),
            "SHOW": str(folder / "show"),
        }
        self.show(RUNNING)

    def program(self, name: str, body: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def slurm(self, job: str = "7", requeue: str = "exit 0", sbatch: str = "echo 8") -> None:
        """As inside job 7."""
        self.program("scontrol", f'echo "scontrol $*" >>"$CALLS"\ncase $1 in requeue) {requeue};; esac\ncat "$SHOW"')
        self.program("squeue", 'case "$*" in *%l) echo 4:00:00;; *%b) echo gres:gpu:a100:2;; *) echo "(null)";; esac')
        self.program("sbatch", f'for word; do echo "sbatch $word" >>"$CALLS"; done\n{sbatch}')
        self.environment |= {"SLURM_JOB_ID": job, "SLURM_JOB_NAME": "forge", "SLURM_JOB_PARTITION": "gpu"}

    def show(self, facts: str) -> None:
        (self.folder / "show").write_text(facts + "\n")

    def start(self, life: str, *arguments: str | Path) -> subprocess.Popen[str]:
        words = [str(word) for word in arguments or (self.config,)]
        return subprocess.Popen(
            ["bash", str(SCRIPT), *words],
            cwd=self.folder,
            env=self.environment | {"STAND_IN": life},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell cannot trap what was ignored when it started, as Ctrl-C is below a test run in the background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def run(self, life: str, *arguments: str | Path) -> tuple[int, str]:
        started = self.start(life, *arguments)
        said = started.communicate(timeout=60)[0]
        assert all(line.startswith("run_training: ") for line in said.splitlines()), said
        return started.returncode, said

    def wait_for_trainer(self) -> None:
        wait_for((self.run_dir / "lives.jsonl").exists, 20)

    def lives(self) -> list[list[str]]:
        path = self.run_dir / "lives.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def calls(self, of: str) -> list[str]:
        path = self.folder / "calls"
        found = path.read_text().splitlines() if path.exists() else []
        return [line.removeprefix("scontrol ").removeprefix("sbatch ") for line in found if line.startswith(of)]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize("code", ["0", "1", "2", "3", "4", "5"])
def test_a_trainer_that_will_end_the_same_way_again_is_not_requeued(shell: Shell, code: str) -> None:
    shell.slurm()
    assert shell.run(code)[0] == int(code)
    assert shell.calls("scontrol requeue") == []
    assert shell.calls("sbatch") == []


@pytest.mark.parametrize(("life", "code"), [("75", 75), ("killed", 137)])
def test_saved_or_killed_it_is_requeued_once(shell: Shell, life: str, code: int) -> None:
    shell.slurm()
    got, said = shell.run(life)
    assert got == code
    assert shell.calls("scontrol requeue") == ["requeue 7"]
    assert shell.calls("sbatch") == []
    assert "job 7 goes back into the queue" in said


def test_a_task_of_an_array_requeues_itself_alone(shell: Shell) -> None:
    shell.slurm()
    shell.environment |= {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1"}
    other = shell.folder / "other.yaml"
    other.write_text("")
    shell.run("75", shell.config, other, "--max_steps", "3")
    assert shell.calls("scontrol requeue") == ["requeue 6_1"]
    assert shell.lives()[0][1:] == ["--config", str(other), "--max_steps", "3"]


def test_a_task_beyond_the_configurations_says_so(shell: Shell) -> None:
    shell.environment |= {"SLURM_ARRAY_TASK_ID": "2"}
    code, said = shell.run("0", shell.config, shell.config)
    assert (code, said.count("\n")) == (2, 1)
    assert "task 2 has no configuration; 2 were given" in said


def test_a_task_picks_its_line_of_a_list(shell: Shell) -> None:
    listed = shell.folder / "configs.txt"
    listed.write_text(f"# what to train\n\nmissing.yaml\n{shell.config}\n")
    shell.environment |= {"SLURM_ARRAY_TASK_ID": "1"}
    assert shell.run("0", listed)[0] == 0
    assert shell.lives()[0][2] == str(shell.config)


def test_several_configurations_without_an_array_are_refused(shell: Shell) -> None:
    code, said = shell.run("0", shell.config, shell.config)
    assert code == 2
    assert "--array=0-1" in said


def test_without_scontrol_a_new_job_is_submitted(shell: Shell) -> None:
    shell.slurm()
    (shell.bin / "scontrol").unlink()
    shell.run("75", shell.config, "--run.dir", "my runs")
    words = shell.calls("sbatch")
    assert words[:2] == ["--parsable", "--dependency=afterany:7"]
    assert set(words[2:-4]) == {
        *("--job-name=forge", "--nodes=1", "--partition=gpu", "--time=4:00:00", "--gres=gpu:a100:2"),
    }
    assert words[-4:] == [str(SCRIPT), str(shell.config), "--run.dir", "my runs"]


def test_a_new_job_has_the_shape_of_the_old_one(shell: Shell) -> None:
    shell.slurm(requeue="exit 1", sbatch='env >>"$CALLS"; echo 8')
    shell.show(f"{RUNNING} TimeLimit=02:00:00 Features=[rack1|rack2] TresPerNode=gres/gpu:1 StdOut=/logs/forge-7.out")
    shell.environment |= {"SLURM_JOB_ACCOUNT": "me", "SLURM_JOB_QOS": "long", "SLURM_NTASKS": "2"}
    shell.environment |= {"SLURM_CPUS_PER_TASK": "3", "SLURM_MEM_PER_CPU": "500", "STAND_IN_NOTES": "75 saved"}
    shell.environment |= {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "0", "SLURM_CONF": "/conf"}
    shell.run("75")
    assert set(shell.calls("sbatch")[2:-2]) == {
        *("--job-name=forge", "--nodes=1", "--partition=gpu", "--account=me", "--qos=long", "--ntasks=2"),
        *("--cpus-per-task=3", "--mem-per-cpu=500", "--time=02:00:00", "--gres=gpu:1", "--constraint=[rack1|rack2]"),
        "--output=/logs/forge-7.out",
    }
    assert shell.calls("SLURM_") == ["SLURM_CONF=/conf"], "or the new job would take itself for a task of the old array"


def test_where_nothing_can_requeue_it_says_what_to_type(shell: Shell) -> None:
    shell.slurm(requeue="echo not allowed; exit 1", sbatch="exit 1")
    code, said = shell.run("75")
    assert code == 75
    assert "cannot requeue (not allowed); to continue: sbatch --job-name=forge --nodes=1 --partition=gpu" in said
    assert str(shell.config).replace(" ", "\\ ") in said, "as it has to be typed"


def test_a_job_that_slurm_is_requeueing_already_is_left_to_it(shell: Shell) -> None:
    shell.slurm(requeue="echo Job is pending execution for job 7; exit 1")
    shell.run("75")
    assert shell.calls("sbatch") == []


def test_a_requeue_whose_answer_was_cut_off_is_not_done_twice(shell: Shell) -> None:
    requeued = RUNNING.replace("Restarts=0", "Restarts=1")
    shell.slurm(requeue=f'echo "{requeued}" >"$SHOW"; kill -KILL $$')
    said = shell.run("75")[1]
    assert shell.calls("sbatch") == []
    assert "cannot requeue" not in said
    shell.show(RUNNING)
    shell.slurm(requeue="kill -KILL $$")
    assert "should the job not come back: sbatch" in shell.run("75+")[1]
    assert shell.calls("sbatch") == []


@pytest.mark.parametrize(
    ("ending", "requeues"),
    [
        (ENDING, []),  # scancel
        (ENDING.replace("Reason=None", "Reason=TimeLimit"), ["requeue 7"]),
        (ENDING.replace("PreemptTime=None", "PreemptTime=2026-01-01T00:00:00"), ["requeue 7"]),  # PreemptMode=CANCEL
        (ENDING.replace("Restarts=0", "Restarts=1"), []),  # preempted, or its node died: Slurm requeues it
    ],
)
def test_after_a_term_the_state_of_the_job_decides(shell: Shell, ending: str, requeues: list[str]) -> None:
    shell.slurm()
    started = shell.start("save")
    shell.wait_for_trainer()
    shell.show(ending)
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=60)
    assert started.returncode == 75
    assert shell.calls("scontrol requeue") == requeues


def test_three_lives_without_a_new_checkpoint_are_enough(shell: Shell) -> None:
    shell.slurm()
    for _ in range(2):
        shell.run("75")
    said = shell.run("75")[1]
    assert len(shell.calls("scontrol requeue")) == 2
    assert "3 lives in a row ended without a new checkpoint" in said
    shell.environment["SLURM_JOB_ID"] = "9"  # submitted anew by a person
    shell.show(RUNNING.replace("JobId=7", "JobId=9"))
    shell.run("75")
    assert shell.calls("scontrol requeue")[2:] == ["requeue 9"]


def test_lives_that_get_further_are_not_counted(shell: Shell) -> None:
    shell.slurm()
    for _ in range(5):
        shell.run("75+")
    assert len(shell.calls("scontrol requeue")) == 5


def test_filling_the_teacher_cache_is_progress(shell: Shell) -> None:
    shell.slurm()
    shell.environment["STAND_IN_FILLS"] = "2"
    for _ in range(4):
        shell.run("75")
    assert len(shell.calls("scontrol requeue")) == 4
    shell.environment["STAND_IN_FILLS"] = "0"
    for _ in range(3):
        said = shell.run("75")[1]
    assert len(shell.calls("scontrol requeue")) == 6
    assert "3 lives in a row ended without a new checkpoint" in said


TOLD = f"75 asked to stop (SIGTERM) {TOO_EARLY}; the same command continues"
PEER_GONE = "1 RuntimeError: [../pair.cc:534] Connection closed by peer [127.0.0.1]:2000"


@pytest.mark.parametrize(
    ("notes", "code"),
    [
        ("killed", 137),  # the launcher itself
        *((f"{code} as it says", code) for code in (2, 3, 4, 5)),
        ("75 stopped after step 3", 75),
        ("0", 0),  # what the launcher fell over came after the end
        ("1 ValueError: no connection is meant here", 1),
        (f"{PEER_GONE}\n5 disk full", 5),
        (f"{TOLD}\n2 no such device", 2),  # the launcher told it, for the other had failed
        (TOLD, 137),  # for the other was killed
        (PEER_GONE, 137),  # its peer was killed: with all of them there it may go on
        ("running", 137),  # nobody lived to say why
        ("", 1),  # it ended before training
    ],
)
def test_a_launcher_does_not_hide_how_the_trainer_ended(shell: Shell, notes: str, code: int) -> None:
    shell.slurm()
    shell.environment |= {"FORGE_PROCESSES": "2", "STAND_IN_NOTES": notes.removeprefix("killed")}
    assert shell.run("killed" if notes == "killed" else "1")[0] == code
    assert bool(shell.calls("scontrol requeue")) == (code in {75, 137})
    assert "--nproc_per_node=2" in shell.lives()[0]
    shell.environment["STAND_IN_NOTES"] = ""
    assert shell.run("1")[0] == 1, "what an earlier life said is of no account"


def test_killed_on_its_way_out_it_is_done_all_the_same(shell: Shell) -> None:
    shell.slurm()
    shell.environment["STAND_IN_NOTES"] = "0"
    assert shell.run("killed")[0] == 0
    assert shell.calls("scontrol requeue") == []


def test_a_wrong_configuration_needs_no_launcher(shell: Shell) -> None:
    shell.environment |= {"FORGE_PROCESSES": "2", "FORGE_PYTHON": sys.executable}
    shell.config.write_text("tusk: classification\n")
    started = shell.start("0")
    said = started.communicate(timeout=60)[0]
    assert started.returncode == 2
    assert "did you mean task?" in said
    assert "torch" not in said


def test_the_run_is_told_how_it_was_launched(shell: Shell) -> None:
    launched = shell.program("launched", f'[ "$1" = -c ] && echo {shell.run_dir} || echo "$FORGE_LAUNCH" >>launch')
    shell.environment |= {"FORGE_PYTHON": str(launched), "FORGE_PROCESSES": "2"}
    shell.run("0")
    shell.slurm()
    shell.environment |= {"SLURM_JOB_NUM_NODES": "2", "FORGE_HEAD": "n1"}
    shell.program("srun", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
    shell.run("0")
    assert (shell.folder / "launch").read_text().splitlines() == [
        "FORGE_PROCESSES=2 bash run_training.sh ",
        "FORGE_PROCESSES=2 sbatch --job-name=forge --nodes=2 --partition=gpu run_training.sh ",
    ]


def test_new_jobs_in_place_of_requeues_are_counted_too(shell: Shell) -> None:
    shell.slurm(requeue="exit 1", sbatch="echo $((${2##*:} + 1))")
    for job in (7, 8, 9):
        shell.environment["SLURM_JOB_ID"] = str(job)
        shell.show(RUNNING.replace("JobId=7", f"JobId={job}"))
        shell.run("75")
    assert shell.calls("sbatch --dep") == ["--dependency=afterany:7", "--dependency=afterany:8"]


@pytest.mark.parametrize(("sent", "seen"), [("SIGUSR1", "SIGUSR1"), ("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM")])
def test_a_signal_is_passed_on_once(shell: Shell, sent: str, seen: str) -> None:
    started = shell.start("save")
    shell.wait_for_trainer()
    for _ in range(3):
        started.send_signal(signal.Signals[sent])
        started.send_signal(signal.SIGCONT)
    said = started.communicate(timeout=60)[0]
    assert json.loads((shell.run_dir / "signals.json").read_text()) == [seen]
    assert started.returncode == 75
    assert "the same command continues the run" in said


def test_a_trainer_that_ignores_the_signal_is_waited_for(shell: Shell) -> None:
    started = shell.start("ignore")
    shell.wait_for_trainer()
    started.send_signal(signal.SIGUSR1)
    started.communicate(timeout=60)
    assert started.returncode == 0


def test_past_the_time_limit_the_requeue_does_not_wait_for_a_stuck_trainer(shell: Shell) -> None:
    shell.slurm()
    shell.program(
        "scontrol", 'echo "scontrol $*" >>"$CALLS"\n[ "$2" = config ] && echo "KillWait = 5 sec"\ncat "$SHOW"'
    )
    shell.environment["STAND_IN_RUN"] = str(shell.run_dir)
    python = shell.program(
        "stuck",
        f"trap '' TERM USR1\n[ \"$1\" = -c ] && echo '{shell.run_dir}' && exit\nmkdir -p '{shell.run_dir}'\n"
        f"echo '[]' >'{shell.run_dir}/lives.jsonl'\nsleep 6; exit 0",
    )
    shell.environment["FORGE_PYTHON"] = str(python)
    started = shell.start("stuck")
    shell.wait_for_trainer()
    shell.show(ENDING.replace("Reason=None", "Reason=TimeLimit"))
    started.send_signal(signal.SIGTERM)
    wait_for(lambda: shell.calls("scontrol requeue") == ["requeue 7"], 5)
    assert started.poll() is None
    started.communicate(timeout=60)
    assert shell.calls("scontrol requeue") == ["requeue 7"]


def test_the_trainer_does_not_outlive_the_script(shell: Shell) -> None:
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed; the trainer watches its parent itself")
    started = shell.start("save")
    shell.wait_for_trainer()
    started.kill()
    started.communicate(timeout=60)
    wait_for(
        lambda: (run := shell.run_dir / "signals.json").exists() and json.loads(run.read_text()) == ["SIGTERM"], 10
    )


def test_arguments_keep_their_spaces(shell: Shell) -> None:
    assert shell.run("0", shell.config, "run.dir=my runs", "--seed", "3")[0] == 0
    assert shell.lives() == [[f"{ROOT}/forge.py", "--config", str(shell.config), "run.dir=my runs", "--seed", "3"]]


def test_the_word_config_before_the_file_is_allowed(shell: Shell) -> None:
    assert shell.run("0", "--config", shell.config)[0] == 0
    assert shell.lives()[0][1:] == ["--config", str(shell.config)]


@pytest.mark.parametrize("arguments", [["--max_steps", "3"], ["missing.yaml"], ["missing.txt"]])
def test_no_configuration_is_one_line_and_exit_2(shell: Shell, arguments: list[str]) -> None:
    code, said = shell.run("0", *arguments)
    assert (code, said.count("\n"), shell.lives()) == (2, 1, [])


def test_a_spooled_copy_finds_the_checkout(shell: Shell) -> None:
    spool = shell.folder / "spool"
    spool.mkdir()
    copy = shutil.copy(SCRIPT, spool / "slurm_script")
    done = subprocess.run(
        ["bash", copy, shell.config],
        cwd=shell.folder,
        env=shell.environment | {"STAND_IN": "0", "SLURM_SUBMIT_DIR": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert shell.lives()[0][0] == f"{ROOT}/forge.py"


def test_a_site_file_sets_up_the_job(shell: Shell) -> None:
    checkout = shell.folder / "checkout"
    checkout.mkdir()
    (checkout / "forge.py").touch()
    shutil.copy(SCRIPT, checkout)
    python = shell.environment.pop("FORGE_PYTHON")
    (checkout / "site.sh").write_text(f'FORGE_PYTHON="{python}"\n')
    done = subprocess.run(
        ["bash", str(checkout / SCRIPT.name), shell.config],
        cwd=shell.folder,
        env=shell.environment | {"STAND_IN": "0"},
        check=False,
    )
    assert (done.returncode, len(shell.lives())) == (0, 1)
