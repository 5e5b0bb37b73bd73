"""A real Slurm on this machine for as long as a test lasts: one controller, several virtual nodes.

Its ports are free ones and its processes are told from others' by its configuration, so several can be up at once.
"""

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

from support import free_ports

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "sinfo")
KILL_WAIT = 15  # seconds between TERM and KILL
REQUEUE_SECONDS = KILL_WAIT + 2  # until a job may start again: longer, or it restarts beside its dying self
# n1 for all; n2 to be fought over; n3 and n4 to lose one of; n5 and n6 for the run that nobody disturbs.
NODES = {"n1": 16, "n2": 1, "n3": 1, "n4": 1, "n5": 1, "n6": 1}
PARTITIONS = """
PartitionName=main Nodes=n1 Default=YES PriorityTier=10 State=UP
PartitionName=other Nodes=n1 PriorityTier=10 State=UP
PartitionName=low Nodes=n2 PriorityTier=1 GraceTime=15 State=UP
PartitionName=high Nodes=n2 PriorityTier=10 State=UP
PartitionName=pair Nodes=n3,n4 PriorityTier=10 State=UP
PartitionName=calm Nodes=n5,n6 PriorityTier=10 State=UP
"""

CONF = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire={requeue}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
GresTypes=toy
MailProg=/bin/true
ReturnToService=2
SlurmdTimeout=15
KillWait={kill_wait}
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/slurmd.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
{nodes}
{partitions}
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

    def __init__(self, folder: Path, nodes: Mapping[str, int] = NODES, partitions: str = PARTITIONS) -> None:
        self.folder, self.nodes = folder, list(nodes)
        for name in ("ctld", "log", *(f"slurmd.{node}" for node in nodes)):
            (folder / name).mkdir(parents=True)
        host = socket.gethostname().split(".")[0]
        controller, *ports = free_ports(1 + len(nodes))
        listed = "\n".join(
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=64000 "
            "Feature=small Gres=toy:1"
            for (name, cpus), port in zip(nodes.items(), ports, strict=True)
        )
        self.conf = folder / "slurm.conf"
        places = {"host": host, "port": controller, "folder": folder, "nodes": listed, "partitions": partitions}
        self.conf.write_text(CONF.format(kill_wait=KILL_WAIT, requeue=REQUEUE_SECONDS, **places), encoding="utf-8")
        (folder / "gres.conf").write_text("Name=toy Count=1\n", encoding="utf-8")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        self.environment = inherited | {"SLURM_CONF": str(self.conf)}
        try:
            self.start_controller()
            for node in nodes:
                self.start_node(node)
            self.wait_idle(self.nodes)
        except BaseException:
            self.stop()
            raise

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
        daemons = {self._pid(f"slurmd.{node}") for node in self.nodes}
        return [pid for node in self.nodes for pid in self._processes_of(node) if pid not in daemons]

    def stop(self) -> None:
        """End daemons and every process they started."""
        if self._alive("slurmctld"):  # first, or it would start the jobs again elsewhere
            self.kill_controller()
            wait_for(lambda: not self._alive("slurmctld"), 30)
        for node in self.nodes:
            self.kill_node(node)

    def _pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def _alive(self, name: str) -> bool:
        return (self.folder / f"{name}.pid").exists() and Path(f"/proc/{self._pid(name)}").exists()

    def _processes_of(self, node: str) -> list[int]:
        """slurmd, the daemons of its steps, and the jobs, which carry the node's name."""
        found = [self._pid(f"slurmd.{node}")] if self._alive(f"slurmd.{node}") else []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                daemon = (entry / "comm").read_text().startswith("slurmstepd")
                children = (entry / "task" / entry.name / "children").read_text().split() if daemon else []
                if any(self._carries(pid, node) for pid in [entry.name, *children]):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def _carries(self, pid: str, node: str) -> bool:
        """Whether a process belongs to a job of this Slurm on the node."""
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.conf}".encode()} <= set(variables)


def wait_for(true: Callable[[], bool], seconds: float, say: Callable[[], str] = str) -> None:
    """Ask until the answer is yes. Raises after so many seconds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {say()}"
        time.sleep(0.2)
