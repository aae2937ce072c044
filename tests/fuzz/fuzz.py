"""Fuzzing of all readers with mutated files, in workers with limited memory and a watchdog.

    python tests/fuzz/fuzz.py --inputs 10000 --seed 0        (`make fuzz`)
    python tests/fuzz/fuzz.py --only wav:17 --seed 0         one input again, with its traceback; its file is kept

The result for an input is correct, an error (a `DemucsError` whose message is one line), or a defect: any other
exception, a wrong result, a traceback on stderr, or a worker that dies, exceeds its memory, or does not answer for 20 s
and is ended by the watchdog. The same seed gives the same inputs.
"""

import argparse
import collections
import json
import os
import platform
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import typing as tp
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:1] = [str(REPOSITORY), str(REPOSITORY / "tests")]      # instead of this folder, whose name is that of its package

import torch   # noqa: E402

from demucs.runs.provenance import commit   # noqa: E402
from demucs.tables import markdown   # noqa: E402
from fuzz import inputs   # noqa: E402
from fuzz.kinds import KINDS   # noqa: E402

MEMORY = 2 * 2 ** 30      # bytes that a worker, and each program it starts, may allocate
WATCHDOG = 20.            # seconds for one input
TERM = 300                # inputs of one worker, before another takes its place
TRACES = ("Traceback (most recent call last)", "Exception ignored in", "Fatal Python error")
BEGIN, END = "<!-- make fuzz -->", "<!-- end of make fuzz -->"
HANG, CRASH = "hang", "crash"

Task = tp.Tuple[str, int]


class Worker:
    """Forked process that works on `tasks` one by one, and writes the result of each to a pipe."""

    def __init__(self, tasks: tp.List[Task], made: tp.Any, seed: int, scratch: Path):
        self.tasks = tasks
        self.done = 0
        self.heard = time.monotonic()
        self.buffer = b""
        self.scratch = Path(tempfile.mkdtemp(prefix="worker-", dir=scratch))
        self.pipe, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                os.close(self.pipe)
                work(tasks, made, seed, self.scratch, write)
                status = 0
            finally:
                os._exit(status)
        os.close(write)

    def read(self) -> tp.List[tp.Dict[str, tp.Any]]:
        """Messages of the worker since the last call. `ended` tells whether it has ended."""
        data = os.read(self.pipe, 1 << 16)
        self.ended = not data
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        if lines:
            self.heard = time.monotonic()
        self.done += len(lines)
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Ends it with all programs that it started. Returns the status of waiting."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.pipe)
        return os.waitpid(self.pid, 0)[1]


def bound_memory() -> None:
    """Limit the memory of this process; mapped libraries do not count."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEMORY, MEMORY))


def work(tasks: tp.List[Task], made: tp.Any, seed: int, scratch: Path, pipe: int) -> None:
    """What a worker does. All that it and its programs print goes to a file, where nothing may look like a traceback."""
    bound_memory()
    said = os.open(scratch / "said", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    os.environ["TMPDIR"] = tempfile.tempdir = str(scratch)
    for name, number in tasks:
        os.ftruncate(said, 0)
        outcome = inputs.judge(made, name, number, seed, scratch / f"{name}-{number}")
        sys.stdout.flush()
        sys.stderr.flush()
        text = os.pread(said, 1 << 20, 0).decode(errors="replace")
        if outcome.what != inputs.DEFECT and any(trace in text for trace in TRACES):
            outcome = inputs.Outcome(inputs.DEFECT, f"on stderr: {text[-3000:]}")
        line = {"kind": name, "number": number, "what": outcome.what, "message": outcome.message}
        os.write(pipe, json.dumps(line).encode() + b"\n")


def run(tasks: tp.Sequence[Task], made: tp.Any, seed: int, scratch: Path, processes: int,
        report: tp.Callable[[tp.Dict[str, tp.Any]], None]) -> None:
    """Works on all tasks and reports each."""
    left = collections.deque(list(tasks[start:start + TERM]) for start in range(0, len(tasks), TERM))
    working: tp.List[Worker] = []
    while left or working:
        while left and len(working) < processes:
            working.append(Worker(left.popleft(), made, seed, scratch))
        ready, _, _ = select.select([worker.pipe for worker in working], [], [], 1.)
        for worker in list(working):
            if worker.pipe in ready:
                for line in worker.read():
                    report(line)
            silent = time.monotonic() - worker.heard > WATCHDOG
            if not silent and not (worker.pipe in ready and worker.ended):
                continue
            status = worker.end()
            working.remove(worker)
            rest = worker.tasks[worker.done:]
            if rest:
                name, number = rest[0]
                report({"kind": name, "number": number, "what": HANG if silent else CRASH,
                        "message": f"not heard of for {WATCHDOG:.0f} s" if silent else f"ended with status {status}"})
                left.appendleft(rest[1:]) if rest[1:] else None
            else:
                shutil.rmtree(worker.scratch, ignore_errors=True)


def table(lines: tp.Sequence[tp.Dict[str, tp.Any]]) -> str:
    """Counts by kind in Markdown."""
    counts = collections.Counter((line["kind"], line["what"]) for line in lines)
    rows = []
    for name in KINDS:
        found = {what: counts[name, what] for what in (inputs.RESULT, inputs.ERROR, inputs.DEFECT, HANG, CRASH)}
        if sum(found.values()):
            bad = found[inputs.DEFECT] + found[HANG] + found[CRASH]
            rows.append([name, *map(str, (sum(found.values()), found[inputs.RESULT], found[inputs.ERROR], bad))])
    return markdown(["kind of file", "inputs", "right results", "errors in one line", "defects"], rows, "lrrrr")


def write_figures(text: str, page: Path) -> None:
    """Put `text` between the marks in a page."""
    content = page.read_text()
    head, _, rest = content.partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


def asked(args: argparse.Namespace) -> tp.List[Task]:
    if args.only:
        name, _, number = args.only.partition(":")
        if name not in KINDS or not number.isdigit():
            raise SystemExit(f"error: --only {args.only}: write KIND:NUMBER, with a kind of {', '.join(KINDS)}")
        return [(name, int(number))]
    tasks = [(name, number) for name in args.kinds for number in inputs.numbers(name, args.inputs)]
    return sorted(tasks, key=lambda task: (task[1], task[0]))       # all kinds from the beginning


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one input again")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "outputs" / "fuzz", help="what defects leave")
    parser.add_argument("--figures", type=Path, help="the page to write the figures to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=args.folder.resolve()))
    made = inputs.prepare(scratch)
    if args.only:
        name, number = asked(args)[0]
        outcome = inputs.judge(made, name, number, args.seed, scratch / "only")
        (scratch / KINDS[name].file).write_bytes(inputs.mutated(made, name, number, args.seed))
        print(f"{outcome.what}: {outcome.message}\nthe file: {scratch / KINDS[name].file}")
        return int(outcome.what == inputs.DEFECT)
    tasks, lines, begin = asked(args), [], time.monotonic()
    with open(args.folder / "defects.jsonl", "w", encoding="utf-8") as defects:
        def report(line: tp.Dict[str, tp.Any]) -> None:
            lines.append(line)
            if line["what"] not in (inputs.RESULT, inputs.ERROR):
                defects.write(json.dumps(line) + "\n")
                defects.flush()
                last = (line["message"].strip().splitlines() or [""])[-1]
                print(f"{line['what']} {line['kind']}:{line['number']} --seed {args.seed}: {last[:200]}", flush=True)
            if len(lines) % 1000 == 0:
                print(f"{len(lines)} of {len(tasks)}, {time.monotonic() - begin:.0f} s", flush=True)
        run(tasks, made, args.seed, scratch, args.processes, report)
    bad = sum(line["what"] not in (inputs.RESULT, inputs.ERROR) for line in lines)
    text = (f"{len(lines)} inputs, seed {args.seed}: {bad} defects. torch {torch.__version__}, "
            f"{platform.machine()}, commit {commit()[:8]}, {time.strftime('%Y-%m-%d')}.\n\n{table(lines)}")
    print(f"{text}\n\n{time.monotonic() - begin:.0f} s")
    if args.figures:
        write_figures(text, args.figures)
    if not bad:
        shutil.rmtree(scratch)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
