"""A real Slurm on this machine: munge, slurmctld and slurmd on loopback, with all state in one folder.

Needs root and `apt-get install slurmctld slurmd slurm-client munge`. No cgroups, no accounting, no systemd.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scontrol", "munged")
# A requeued job waits for two minutes. Lifted earlier than this, it fails: the node holds its credential for revoked.
REVOKED_SECONDS = 6.0
NODES = ("n1", "n2")
CONFIG = """
ClusterName=audiogentest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0,bf_yield_interval=500000
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=10
MinJobAge=3600
InactiveLimit=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first_port} CPUs=2 RealMemory=1000 State=UNKNOWN
NodeName=n2 NodeHostname={host}-2 NodeAddr=127.0.0.1 Port={second_port} CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=n1 Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60 MaxTime=60 State=UP
PartitionName=high Nodes=n1 Default=NO PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
PartitionName=wide Nodes=ALL Default=NO PriorityTier=1 PreemptMode=REQUEUE GraceTime=60 MaxTime=60 State=UP
"""


def missing() -> str:
    """Say why there can be no cluster, or nothing where there can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"no {', '.join(absent)}: apt-get install slurmctld slurmd slurm-client munge" if absent else ""


def output_of(*command: str | Path) -> str:
    """Run a command and return what it prints.

    Raises:
        RuntimeError: With what it prints where it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def wait_until(true: Callable[[], bool], seconds: float, told: Callable[[], str]) -> None:
    """Wait for something.

    Raises:
        TimeoutError: With what is told, where it does not come.
    """
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(told())
        time.sleep(0.1)


class Cluster:
    """Two nodes of two processors each, which are this machine.

    Partitions of the first node: one that is pre-empted (low) and one that pre-empts (high); of both nodes: wide.

    Args:
        folder: For its state and the output of jobs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def up(self) -> None:
        """Start it."""
        folder = self.folder
        (folder / "state").mkdir(parents=True)
        folder.chmod(0o755)
        host = socket.gethostname().split(".")[0]
        ports = dict(zip(("control_port", "first_port", "second_port"), free_ports(3), strict=True))
        (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, host=host, **ports))
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        key = folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        places = [f"--{option}={folder}/munge.{suffix}" for option, suffix in names.items()]
        output_of("munged", "--force", "--num-threads=2", *places)
        output_of("slurmctld", "-c")
        for node in NODES:
            output_of("slurmd", "-N", node)
        idle = lambda: output_of("sinfo", "-h", "-p", "wide", "-t", "idle", "-o", "%D") == str(len(NODES))  # noqa: E731
        wait_until(idle, 20, lambda: (folder / "slurmctld.log").read_text())

    def down(self) -> None:
        """Stop all that was started."""
        subprocess.run(["scancel", "-u", "root"], check=False)
        with contextlib.suppress(TimeoutError, RuntimeError):
            wait_until(lambda: not output_of("squeue", "-h", "-t", "R,CG"), 15, lambda: "")
        for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munge"):
            pid_file = self.folder / f"{name}.pid"
            if pid_file.exists():
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
        mine = f"SLURM_CONF={self.folder}".encode()
        for process in Path("/proc").glob("[0-9]*"):  # jobs that would not end, and what watches them
            with contextlib.suppress(OSError):
                if mine in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def submit(self, *args: str | Path) -> "Job":
        """Submit a batch file with its arguments; options of sbatch come first."""
        output = self.folder / "%A_%a-%j.out"
        return Job(output_of("sbatch", "--parsable", "-o", output, *args), self)


class Job:
    """A job of a cluster.

    Args:
        number: Of the job, or of the array.
        cluster: Where it is.
    """

    def __init__(self, number: str, cluster: Cluster) -> None:
        self.number, self.cluster = number, cluster

    def show(self, field: str) -> str:
        """Return a field of what Slurm says of the job, such as JobState; of an array, of all tasks."""
        shown = output_of("scontrol", "show", "job", self.number)
        return " ".join(re.findall(rf"\b{field}=(\S*)", shown))

    def output(self) -> str:
        """Return what it has printed."""
        return "".join(path.read_text() for path in sorted(self.cluster.folder.glob(f"{self.number}*.out")))

    def wait(self, *states: str, seconds: float = 150.0) -> None:
        """Wait until all tasks have one of some states."""
        done = lambda: set(self.show("JobState").split()) <= set(states)  # noqa: E731
        wait_until(done, seconds, lambda: f"{self.show('JobState')}, not {states}:\n{self.output()}")

    def restart_now(self) -> None:
        """Wait until it is requeued, and lift Slurm's delay."""
        waits = lambda: self.show("JobState") == "PENDING" and self.show("Restarts") != "0"  # noqa: E731
        wait_until(waits, 90, lambda: f"{self.show('JobState')}, not requeued:\n{self.output()}")
        time.sleep(REVOKED_SECONDS)
        output_of("scontrol", "update", f"JobId={self.number}", "StartTime=now")


def free_ports(num: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(num)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
