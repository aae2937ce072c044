"""Fault injection: a small HDemucs is trained on a private Slurm and killed many times, by all kinds of faults.

    python tests/slurm/chaos.py --kills 200 --folder outputs/chaos        (`make chaos`; called again, it continues)

The same experiment is also trained by an undisturbed job. At the end, both must have the same bits and the same
history. The kind and time of a fault are drawn from the seed and its number, and each fault is recorded in faults.jsonl
in the folder. If the system allows it, all processes and a small disk to be filled are in namespaces of
their own, so that nothing remains, however the program ends.
"""

import argparse
import collections
import contextlib
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing as tp
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from training.small import write_songs   # noqa: E402

from demucs.runs.provenance import commit   # noqa: E402
from demucs.tables import markdown   # noqa: E402
from demucs.training.state import read_checkpoint   # noqa: E402

STEPS = 3             # of an epoch
SETTINGS = ("model=hdemucs", "hdemucs.channels=4", "hdemucs.nfft=512", "hdemucs.depth=4", "hdemucs.kernel_size=4",
            "hdemucs.stride=2", "hdemucs.dconv_lstm=2", "hdemucs.dconv_attn=2", "hdemucs.norm_starts=9",
            "hdemucs.cac=True", "hdemucs.hybrid_old=False", "dset.samplerate=8000", "dset.segment=1", "dset.shift=0.25",
            "augment.repitch.proba=0.5", "augment.remix.group_size=2", "batch_size=4", f"max_batches={STEPS}",
            "misc.num_workers=2", "misc.patience=2", "checkpoint.steps=1", "ema.batch=[0.9]", "ema.epoch=[0.5]",
            "svd.penalty=1e-4", "svd.min_size=0.001", "svd.dim=4", "test.every=1000", "test.sdr=False", "test.workers=0")
SHAPE = ("--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--gres=gpu:1", "--cpus-per-task=3")
DISK = 48             # MB of the small disk
PATIENCE = 180.       # seconds for any one thing to happen; nothing may wait for ever
QUERY = 0.5           # seconds between two questions to the controller, which cost as much as a step of the training
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


class Waited(AssertionError):
    """Something did not happen in time."""


def until(condition: tp.Callable[[], tp.Any], what: str, patience: float = PATIENCE, every: float = 0.05
          ) -> tp.Any:
    """What `condition`, looked at `every` so many seconds, returns once that is true."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Waited(f"after {patience:.0f} s: {what}")
        time.sleep(every)


class Chaos:
    """A cluster, a checkout and a training in `folder`. Existing ones are continued.

    `kinds` are the faults of one round; their order differs between rounds.
    """

    def __init__(self, folder: Path, *, kills: int, kinds: tp.Sequence[str], seed: int = 0):
        self.folder = folder
        self.kills = kills
        self.kinds = list(kinds)
        self.root = folder / "checkout"
        self.seed = seed
        self.epochs = kills * 5 // (2 * STEPS) + 2      # fewer than three steps are done between two faults
        self.record = folder / "faults.jsonl"
        # Sockets need a short path. In a namespace of processes every one of these has the same number.
        self.cluster = Path(tempfile.mkdtemp(prefix="slurm-chaos-", dir="/tmp"))
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "DEMUCS_"))},
            "DEMUCS_SLURM_DIR": str(self.cluster), "DEMUCS_SLURM_OWNER": str(os.getpid()), "SLURM_CONF": str(self.cluster / "slurm.conf"),
            "DEMUCS_PYTHON": sys.executable, "DEMUCS_MUSDB": str(folder / "songs"), "DEMUCS_DEVICE": "cpu",
            "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "DEMUCS_CODE_SNAPSHOT": "0",
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            self.environment.pop(name, None)
        self.job = self.signature = ""
        self.mounted = False
        self._asked = 0.          # when the controller was asked last whether the job has ended

    # ------------------------------------------------------------------------------------------------- the surroundings

    def prepare(self) -> None:
        for root in (self.root, self.folder / "alone"):
            root.mkdir(parents=True, exist_ok=True)
            for name in ("demucs", "conf", "tools", "slurm_scripts"):
                with contextlib.suppress(FileExistsError):
                    (root / name).symlink_to(REPOSITORY / name)
            (root / "slurm_out").mkdir(exist_ok=True)
        songs = self.folder / "songs"
        if not songs.exists():
            write_songs(songs, held_out=1.)
        self.run(REPOSITORY / "slurm_scripts" / "local_cluster.sh", "start")

    def mount(self) -> None:
        """The experiments lie on a disk of their own, small enough to be filled."""
        outputs = self.root / "outputs"
        outputs.mkdir(exist_ok=True)
        kept = self.folder / "kept"
        if INSIDE in os.environ and not os.path.ismount(outputs):
            self.mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "chaos", str(outputs)],
                                          capture_output=True).returncode == 0
            if self.mounted and kept.exists():
                shutil.copytree(kept, outputs, dirs_exist_ok=True)
        if not self.mounted and "disk" in self.kinds:
            print("Note: nothing can be mounted here, so no fault fills the disk", flush=True)
            self.kinds.remove("disk")
            if not self.kinds:
                raise SystemExit("no other fault is left: choose more --kinds")

    def close(self) -> None:
        """Stop everything, and save the content of the small disk."""
        subprocess.run([str(REPOSITORY / "slurm_scripts" / "local_cluster.sh"), "stop"], env=self.environment,
                       timeout=120, capture_output=True)
        if self.mounted:
            self.keep()
            # Lazily: ranks may still write there after an error, whose message must not be replaced by this command's.
            subprocess.run(["umount", "--lazy", str(self.root / "outputs")], check=True, timeout=60)
        shutil.rmtree(self.cluster, ignore_errors=True)

    def keep(self) -> None:
        """Copy the content of the small disk, which is lost with it, as the start of the next call: the state that a crash
        would leave."""
        if not self.mounted:
            return
        fresh, kept = self.folder / "kept.new", self.folder / "kept"
        shutil.rmtree(fresh, ignore_errors=True)
        with contextlib.suppress(shutil.Error):        # of files that had vanished when it was their turn
            shutil.copytree(self.root / "outputs", fresh, ignore=shutil.ignore_patterns("filler", ".*.tmp"))
        shutil.rmtree(kept, ignore_errors=True)
        fresh.rename(kept)

    def run(self, *command: tp.Any, cwd: tp.Optional[Path] = None, check: bool = True) -> str:
        done = subprocess.run([str(part) for part in command], cwd=cwd or self.root, env=self.environment, timeout=90,
                              capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    # --------------------------------------------------------------------------------------------------------- the jobs

    def submit(self, *options: str, root: tp.Optional[Path] = None, continued: bool = False) -> str:
        script = ("continue_run_slurm.sh", self.signature) if continued else ("train_slurm.sh", self.epochs, *SETTINGS)
        return self.run("sbatch", "--parsable", *SHAPE, *options, f"slurm_scripts/{script[0]}", *script[1:],
                        cwd=root or self.root).strip()

    def start(self) -> None:
        """Start both trainings, or those that are not finished."""
        self.mount()
        for root in (self.root, self.folder / "alone"):
            if not (root / "outputs" / "xps").exists() or not self.done(root):
                job = self.submit(*(() if root == self.root else ("--partition=urgent",)), root=root)
                self.job = job if root == self.root else self.job
        until(lambda: list((self.root / "outputs" / "xps").glob("*/status.json")), "the training begins")
        self.signature = next((self.root / "outputs" / "xps").glob("*/status.json")).parent.name

    def run_folder(self, root: tp.Optional[Path] = None) -> Path:
        return next(iter(((root or self.root) / "outputs" / "xps").glob("*/.argv.json"))).parent

    def done(self, root: Path) -> bool:
        try:
            return json.loads((self.run_folder(root) / "status.json").read_text())["state"] == "done"
        except (OSError, ValueError, StopIteration):
            return False

    def state(self, job: tp.Optional[str] = None) -> str:
        """Of the job; "" where the controller does not answer."""
        done = subprocess.run(["timeout", "10", "scontrol", "show", "job", "--oneliner", job or self.job],
                              env=self.environment, capture_output=True, text=True)
        found = re.search(r" JobState=(\S+)", done.stdout)
        return found[1] if found else ""

    def log(self) -> str:
        logs = sorted((self.root / "slurm_out").glob(f"*-{self.job}.out"))
        return logs[-1].read_text(errors="replace") if logs else ""

    def tail(self) -> str:
        return f"\njob {self.job} is {self.state()}\n" + self.log()[-3000:]

    def ranks(self) -> tp.List[int]:
        """Process ids of the ranks of the training that is killed, in their order."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                line = (process / "cmdline").read_bytes().split(b"\0")
                if b"dora" not in line or b"python" not in line[0]:
                    continue
                pairs = dict(item.partition(b"=")[::2] for item in (process / "environ").read_bytes().split(b"\0"))
                if pairs.get(b"SLURM_CONF") != self.environment["SLURM_CONF"].encode() or b"RANK" not in pairs \
                        or pairs.get(b"SLURM_JOB_ID") != self.job.encode():
                    continue
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(process.name)] = (int(pairs[b"RANK"]), parent)
        own = [pid for pid, (_, parent) in found.items() if parent not in found]      # the others are loader workers
        return sorted(own, key=lambda pid: found[pid][0])

    def newest(self) -> tp.Any:
        """Changes with every checkpoint that is written."""
        try:
            found = (self.run_folder() / "checkpoint.th").stat()
            return found.st_ino, found.st_mtime_ns
        except (OSError, StopIteration):
            return None

    # ---------------------------------------------------------------------------------------------------------- the faults

    def _rank(self, chance: np.random.Generator) -> None:
        ranks = self.ranks()
        if ranks:
            self._kill(ranks[int(chance.integers(len(ranks)))])

    def _all(self, chance: np.random.Generator) -> None:
        for pid in self.ranks():
            self._kill(pid)

    @staticmethod
    def _kill(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _usr2(self, chance: np.random.Generator) -> None:
        self.run("scancel", "--signal=USR2", self.job, check=False)

    def _term(self, chance: np.random.Generator) -> None:
        """Ends the job for good, which is then submitted anew."""
        self.run("scancel", "--signal=TERM", self.job, check=False)
        self._again()

    def _scancel(self, chance: np.random.Generator) -> None:
        self.run("scancel", self.job, check=False)
        self._again()

    def _again(self) -> None:
        until(lambda: self.state() in OVER, "the job has ended" + self.tail(), every=QUERY)
        if not self.done(self.root):
            self.job = self.submit(continued=True)

    def _preempt(self, chance: np.random.Generator) -> None:
        free = 8 if self.done(self.folder / "alone") else 7
        urgent = self.run("sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--ntasks=2", f"--gres=gpu:{free}",
                          "--output=/dev/null", "--wrap=sleep 0.5").strip()
        until(lambda: self.state(urgent) in OVER, "the urgent job has run" + self.tail(), every=QUERY)

    def _controller(self, chance: np.random.Generator) -> None:
        """The controller is away while a rank dies."""
        self._daemon("slurmctld", chance, ["slurmctld", "-f", self.environment["SLURM_CONF"]])

    def _node(self, chance: np.random.Generator) -> None:
        name = ("n1", "n2")[int(chance.integers(2))]
        self._daemon("slurmd", chance, ["slurmd", "-N", name, "-f", self.environment["SLURM_CONF"]])

    def _daemon(self, program: str, chance: np.random.Generator, command: tp.List[str]) -> None:
        pid = None
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (process / "cmdline").read_bytes().decode().split("\0")
                if os.path.basename(line[0]) == program and set(command[1:]) <= set(line):
                    pid = int(process.name)
        assert pid is not None, f"no {command}"
        self._kill(pid)
        self._rank(chance)
        time.sleep(chance.uniform(0, 3))
        until(lambda: not Path(f"/proc/{pid}").exists(), f"{program} is gone")
        subprocess.run(command, env=self.environment, check=True, timeout=60)

    def _truncate(self, chance: np.random.Generator) -> None:
        """Power fails: all ranks are gone, and the newest checkpoint is not whole."""
        def gone() -> bool:
            self._all(chance)           # again and again: the next ones may start while these end
            return not self.ranks()
        until(gone, "the ranks are gone" + self.tail())
        path = self.run_folder() / "checkpoint.th"
        if path.exists() and (path.parent / "checkpoint_previous.th").exists():
            os.truncate(path, int(path.stat().st_size * chance.uniform(0, 1)))

    def _disk(self, chance: np.random.Generator) -> None:
        """No checkpoint can be written until a rank ends for it. The status file and the ledger only warn."""
        before = set(self.ranks())
        filler = self.root / "outputs" / "filler"
        with open(filler, "wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        until(lambda: not before <= set(self.ranks()) or self.state() in OVER, "a save fails" + self.tail(),
              every=0.2)
        filler.unlink()

    # ------------------------------------------------------------------------------------------------------- the training

    def faults(self) -> tp.List[tp.Dict[str, tp.Any]]:
        return [json.loads(line) for line in self.record.read_text().splitlines()] if self.record.exists() else []

    def go(self, report: tp.Callable[[str], None] = print) -> None:
        """Inject all faults that are left, then wait until both trainings have finished."""
        for number in range(len(self.faults()), self.kills):
            order = np.random.default_rng([self.seed, 0, number // len(self.kinds)]).permutation(len(self.kinds))
            kind = self.kinds[order[number % len(self.kinds)]]
            chance = np.random.default_rng([self.seed, 1, number])
            times = self._wait_for_steps(int(chance.integers(1, 3)))
            if self.done(self.root):
                raise AssertionError(f"the training was done after {number} of {self.kills} faults: plan more epochs")
            time.sleep(chance.uniform(0, min(times[-1], 1.)))
            before = until(lambda: set(self.ranks()), "there are ranks" + self.tail())     # not between two starts
            begin, place = time.monotonic(), self._place()
            getattr(self, f"_{kind}")(chance)
            until(lambda: not before & set(self.ranks()), "the ranks are gone" + self.tail())
            fault = {"number": number, "kind": kind, "back": times[0], "gone": time.monotonic() - begin, **place}
            with open(self.record, "a") as file:
                file.write(json.dumps(fault) + "\n")
            self.keep()
            report(f"{number + 1:4d} {kind:10s} in epoch {place['epoch']}, after step {place['step']}; "
                   f"gone after {fault['gone']:.1f} s, was back after {times[0]:.1f} s")
        until(lambda: self.done(self.root) or self._over(), "the training is done" + self.tail(), 10 * PATIENCE)
        until(lambda: self.done(self.folder / "alone"), "the undisturbed training is done", 10 * PATIENCE)

    def _wait_for_steps(self, count: int) -> tp.List[float]:
        """Until `count` checkpoints have been written since now. Returns the seconds that each of them took."""
        times = []
        for _ in range(count):
            begin, seen = time.monotonic(), self.newest()
            until(lambda: self.newest() != seen or self.done(self.root) or self._over(), "it makes progress" + self.tail())
            times.append(time.monotonic() - begin)
        return times

    def _over(self) -> bool:
        """Whether a job has ended; without being killed, that is an error. Slurm is asked every `QUERY` seconds."""
        if time.monotonic() < self._asked + QUERY:
            return False
        self._asked = time.monotonic()
        if self.state() in OVER and not self.done(self.root):
            raise AssertionError("the job has ended" + self.tail())
        return False

    def _place(self) -> tp.Dict[str, int]:
        try:
            status = json.loads((self.run_folder() / "status.json").read_text())
            return {"epoch": status["epoch"], "step": status["step"]}
        except (OSError, ValueError):
            return {"epoch": 0, "step": 0}

    # ----------------------------------------------------------------------------------------------------------- the end

    def compare(self) -> None:
        """Check that all numbers of both trainings are equal, and that every epoch is recorded once."""
        packages = [read_checkpoint(self.run_folder(root) / "checkpoint.th") for root in (self.root, self.folder / "alone")]
        histories = [json.loads((self.run_folder(root) / "history.json").read_text())
                     for root in (self.root, self.folder / "alone")]
        for history in histories:
            assert len(history) == self.epochs, f"{len(history)} epochs are recorded"
            for entry in history:
                entry.pop("seconds")
        assert histories[0] == histories[1]
        for part in ("state", "best_state", "optimizer", "ema_batch_0", "ema_epoch_0"):
            different = list(differences(packages[0][part], packages[1][part], part))
            assert not different, different[:5]

    def summary(self) -> str:
        """Lines of Markdown for docs/cluster.md."""
        faults = self.faults()
        counts = collections.Counter(fault["kind"] for fault in faults)
        rows = []
        backs = {first["number"]: second["back"] for first, second in zip(faults, faults[1:])}
        for kind in sorted(counts):
            gone = [fault["gone"] for fault in faults if fault["kind"] == kind]
            back = [backs[fault["number"]] for fault in faults if fault["kind"] == kind and fault["number"] in backs]
            rows.append([NAMES[kind], str(counts[kind]), *(f"{statistics.median(seconds):.1f}, {max(seconds):.1f}"
                                                           if seconds else "-" for seconds in (gone, back))])
        head = ["fault", "times", "all ranks gone after (s): median, most", "steps again after (s): median, most"]
        return markdown(head, rows)


NAMES = {"rank": "kill -9 of a rank", "all": "kill -9 of all ranks", "usr2": "SIGUSR2 through scancel",
         "term": "SIGTERM through scancel, submitted again", "scancel": "scancel, submitted again",
         "preempt": "preempted by another partition's job", "controller": "slurmctld killed, and a rank; started again",
         "node": "slurmd killed, and a rank; started again",
         "truncate": "kill -9 of all ranks, newest checkpoint truncated", "disk": "disk full while saving"}


def differences(one: tp.Any, other: tp.Any, where: str) -> tp.Iterator[str]:
    """Names of all places where two nested containers of tensors and numbers differ in any bit."""
    if isinstance(one, torch.Tensor):
        if not (isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)):
            yield where
    elif isinstance(one, dict):
        if not isinstance(other, dict) or one.keys() != other.keys():
            yield where
        else:
            for key in one:
                yield from differences(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        if len(one) != len(other):
            yield where
        for index, (a, b) in enumerate(zip(one, other)):
            yield from differences(a, b, f"{where}[{index}]")
    elif one != other:
        yield where


def write_figures(text: str, page: Path) -> None:
    """Put `text` between the marks in a page."""
    begin, end = "<!-- make chaos -->", "<!-- end of make chaos -->"
    content = page.read_text()
    head, _, rest = content.partition(begin)
    _, _, tail = rest.partition(end)
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
INSIDE = "DEMUCS_CHAOS_INSIDE"


def go_inside() -> None:
    """Start this program again in namespaces of its own, if the system grants them."""
    for user in ((), ("--user", "--map-root-user")):
        command = ["unshare", *user, *NAMESPACES]
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
                os.environ[INSIDE] = "1"
                # The first process of a namespace has to see to its orphans, which a shell does.
                os.execvp("unshare", [*command, "bash", "-c", '"$@"; exit $?', "chaos", sys.executable, *sys.argv])
    print("No namespaces here: what is left of this when it is killed has to be ended by hand", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "outputs" / "chaos")
    parser.add_argument("--kinds", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figures", type=Path, help="the page to write the figures to, docs/cluster.md")
    args = parser.parse_args()
    if INSIDE not in os.environ:
        go_inside()
    chaos = Chaos(args.folder.resolve(), kills=args.kills, kinds=args.kinds, seed=args.seed)
    begin = time.monotonic()
    try:
        chaos.prepare()
        chaos.start()
        chaos.go(report=lambda text: print(text, flush=True))
        chaos.compare()
        text = (f"{len(chaos.faults())} faults in {chaos.epochs} epochs of {STEPS} steps; every bit of weights, "
                f"averages, optimiser and history is that of the undisturbed training. {platform.processor() or platform.machine()}, "
                f"{os.cpu_count()} cores, torch {torch.__version__}, commit {commit()[:8]}, {time.strftime('%Y-%m-%d')}."
                f"\n\n{chaos.summary()}")
        print(f"{text}\n\n{time.monotonic() - begin:.0f} s in this call")
        if args.figures:
            write_figures(text, args.figures)
    finally:
        chaos.close()


if __name__ == "__main__":
    main()
