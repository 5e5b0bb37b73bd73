"""A real Slurm on this machine for as long as a test session lasts: one controller, several virtual nodes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "sinfo")
KILL_WAIT = 10  # seconds between TERM and KILL; cred_expire must be longer, or a job restarts beside its dying self
NODES = {"n1": 16, "n2": 1, "n3": 1, "n4": 1}  # n1 for all; n2 to be fought over; n3 and n4 to lose one of
PORTS = {name: 17101 + number for number, name in enumerate(NODES)}

CONF = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17100
SlurmUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=12
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmdTimeout=10
KillWait={kill_wait}
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/slurmd.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
{nodes}
PartitionName=main Nodes=n1 Default=YES PriorityTier=10 State=UP
PartitionName=low Nodes=n2 PriorityTier=1 GraceTime=15 State=UP
PartitionName=high Nodes=n2 PriorityTier=10 State=UP
PartitionName=pair Nodes=n3,n4 PriorityTier=10 State=UP
"""


def missing() -> str:
    """Why no Slurm can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "a private Slurm needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"{', '.join(absent)} not installed; apt-get install slurmctld slurmd slurm-client"
    return ""


class Cluster:
    """Starts on construction; `stop` leaves no process behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("ctld", "log", *(f"slurmd.{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={PORTS[name]} CPUs={cpus} RealMemory=64000"
            for name, cpus in NODES.items()
        )
        conf = folder / "slurm.conf"
        conf.write_text(CONF.format(host=host, folder=folder, nodes=nodes, kill_wait=KILL_WAIT), encoding="utf-8")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        self.environment = inherited | {"SLURM_CONF": str(conf)}
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.wait_idle(list(NODES))

    def call(self, *words: str | Path, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
        """A Slurm command's output. Raises where it fails."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self.environment | dict(environment or {}),
            cwd=folder or self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def start_controller(self) -> None:
        self.call("slurmctld")

    def start_node(self, node: str) -> None:
        self.call("slurmd", "-N", node)

    def wait_idle(self, nodes: list[str], seconds: float = 60) -> None:
        wait_for(
            lambda: set(self.call("sinfo", "-h", "-N", "-n", ",".join(nodes), "-o", "%T").split()) == {"idle"}, seconds
        )

    def kill_controller(self) -> None:
        """As a crash would: without a word."""
        os.kill(self._pid("slurmctld"), signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """The whole virtual machine: slurmd, what it started, and what that started."""
        for pid in self._processes_of(node):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def submit(self, script: Path, *arguments: str | Path, options: list[str], environment: Mapping[str, str]) -> int:
        """Number of the new job."""
        words = ["sbatch", "--parsable", *options, script, *arguments]
        return int(self.call(*words, environment=environment, folder=self.folder))

    def facts(self, job: int | str) -> dict[str, str]:
        """What `scontrol show job` says."""
        shown = self.call("scontrol", "--oneliner", "show", "job", str(job))
        return dict(re.findall(r"(\S+?)=(\S*)", shown))

    def wait_state(self, job: int | str, states: set[str], seconds: float) -> dict[str, str]:
        """The job's facts once it is in one of `states`."""
        wait_for(lambda: self.facts(job)["JobState"] in states, seconds, lambda: str(self.facts(job)))
        return self.facts(job)

    def processes_of_jobs(self) -> list[int]:
        """Every process of a job, of those too that left their parents."""
        daemons = {self._pid(f"slurmd.{node}") for node in NODES}
        return [pid for node in NODES for pid in self._processes_of(node) if pid not in daemons]

    def stop(self) -> None:
        """End daemons and every process they started."""
        subprocess.run(
            ["scancel", "--user=root", "--signal=KILL", "--full"], env=self.environment, check=False, timeout=30
        )
        for node in NODES:
            self.kill_node(node)
        os.kill(self._pid("slurmctld"), signal.SIGTERM)
        wait_for(lambda: not self._alive("slurmctld"), 30)

    def _pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def _alive(self, name: str) -> bool:
        return (self.folder / f"{name}.pid").exists() and Path(f"/proc/{self._pid(name)}").exists()

    def _processes_of(self, node: str) -> list[int]:
        """slurmd, the daemons of its steps, and the jobs, which carry the node's name."""
        name = f"SLURMD_NODENAME={node}\0".encode()
        found = [self._pid(f"slurmd.{node}")] if self._alive(f"slurmd.{node}") else []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                carries = name in (entry / "environ").read_bytes()
                daemon = (entry / "comm").read_text().startswith("slurmstepd")
                if carries or (daemon and self._serves(entry, node)):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def _serves(self, entry: Path, node: str) -> bool:
        """Whether a step daemon looks after a job of the node."""
        children = (entry / "task" / entry.name / "children").read_text().split()
        name = f"SLURMD_NODENAME={node}\0".encode()
        return any(name in Path(f"/proc/{child}/environ").read_bytes() for child in children)


def wait_for(true: Callable[[], bool], seconds: float, say: Callable[[], str] = str) -> None:
    """Ask until the answer is yes. Raises after so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {say()}"
        time.sleep(0.2)
