"""Runner of all benchmarks, which writes docs/benchmarks.md from their results.

    python -m benchmarks.run [--quick] [--printed FILE] [NAME ...]

A benchmark is a script bench_NAME.py whose last output line is a JSON list of `Result`s. If all of them ran at full
length, the page is written; with --quick or with names, it is printed instead. After a failure, --printed FILE with the
output of the failed call reuses its complete results.
"""

import argparse
import ast
import dataclasses
import json
import os
import platform
import subprocess
import sys
import typing as tp
from pathlib import Path

from benchmarks.environments import REPOSITORY, python, variables
from demucs.errors import DemucsError
from demucs.files import atomic
from demucs.runs.provenance import commit, now, versions
from demucs.tables import markdown, number

HERE = Path(__file__).resolve().parent
PAGE = REPOSITORY / "docs" / "benchmarks.md"
MAY_BE_SLOWER = ("bench_deployment.py",)     # other forms of our models, whose speed is to be known
QUICK = {"bench_checkpoint.py": ["--channels", "8", "--rounds", "1", "--steps", "1"],
         "bench_dataset.py": ["--songs", "1", "--seconds", "40", "--rounds", "1"],
         "bench_loader.py": ["--songs", "6", "--seconds", "30", "--segments", "32"],
         "bench_openunmix_loader.py": ["--songs", "4", "--seconds", "20", "--per-track", "4", "--rounds", "1"],
         "bench_deployment.py": ["openunmix", "htdemucs_nc", "--seconds", "1", "--rounds", "1"],
         "bench_layers.py": ["--rounds", "1", "--seconds", "4", "2"],
         "bench_metrics.py": ["--seconds", "3", "--long", "10", "--song", "10", "--separated", "4",
                             "--rounds", "1"],
         "bench_openunmix.py": ["--hidden", "32", "--batch", "2", "--seconds", "1", "--rounds", "1", "--songs", "8"],
         "bench_separation.py": ["--seconds", "20"],
         "bench_startup.py": ["--rounds", "1"],
         "bench_training.py": ["--channels", "8", "--seconds", "1", "--rounds", "2", "--steps", "1",
                               "--min-size", "0.2"],
         "bench_variants.py": ["--seconds", "10", "--rounds", "1", "--batch", "1", "--length", "1"],
         "bench_validation.py": ["--channels", "8", "--seconds", "12", "--segment", "8", "--rounds", "1"]}
PEER_VERSIONS = ("import json, platform; from importlib import metadata; print(json.dumps({'python': "
                 "platform.python_version(), **{name: metadata.version(name) for name in "
                 "('demucs', 'torch', 'torchaudio', 'numpy')}}))")
CONDITIONS = ("import json, torch; print(json.dumps({'torch': torch.__version__, 'threads': "
              "torch.get_num_threads()}))")
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")     # of x86, for convolutions and matrix products
ENOUGH = 0.95    # minimum ratio; between this and 1, differences are within the noise of a shared machine


class BenchmarkError(DemucsError):
    """Error for a benchmark that failed, or printed invalid results."""


@dataclasses.dataclass(frozen=True)
class Result:
    """One measurement: values of both sides in `unit`, the ratio by which ours is better (above 1), and the largest
    difference of the outputs of both (None if there is no output)."""
    name: str
    ours: float
    peer: float
    ratio: float
    error: tp.Optional[float]
    unit: str


def parse(line: str, where: str) -> tp.List[Result]:
    """Results from the last line that benchmark `where` printed. Raises BenchmarkError if it is invalid."""
    try:
        results = [Result(**entry) for entry in json.loads(line)]
        wrong = [result.name for result in results if not (result.ours > 0 and result.peer > 0 and result.ratio > 0)]
    except (ValueError, TypeError) as error:
        raise BenchmarkError(f"{where}: the last line is no JSON list of results ({error}): {line[:200]!r}") from error
    if wrong or not results:
        raise BenchmarkError(f"{where}: no positive numbers for {', '.join(wrong) or 'anything'}")
    return results


def run(script: Path, arguments: tp.Sequence[str]) -> tp.List[Result]:
    """Results of one benchmark, which is run here; its output is shown. Raises BenchmarkError if it fails."""
    print(f"== {script.name} {' '.join(arguments)}".rstrip(), flush=True)
    last = ""
    with subprocess.Popen([sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    if process.returncode:
        raise BenchmarkError(f"{script.name} ended with status {process.returncode}; its message is above")
    return parse(last, script.name)


def complete(printed: str) -> tp.Dict[str, tp.List[Result]]:
    """Results by script from `printed`, the output of a call at full length; scripts that did not finish are left
    out."""
    found = {}
    for part in printed.split("== bench_")[1:]:
        title, *lines = part.strip().splitlines()
        last = [line for line in lines if line.startswith("[{")]
        if "--" not in title and last:
            found[f"bench_{title.strip()}"] = parse(last[-1], title)
    return found


def table(results: tp.Iterable[Result]) -> str:
    """Markdown table with one row per result."""
    return markdown(["", "ours", "peer", "unit", "ratio", "largest difference"],
                    [[result.name, f"{result.ours:#.4g}", f"{result.peer:#.4g}", result.unit, number(result.ratio),
                      "" if result.error is None else f"{result.error:.1e}"] for result in results], "lrrlrr")


def machine() -> tp.Dict[str, str]:
    """Description of this machine by key: processor, cores, memory, system, load. Cloud providers hide the generation
    of a processor in its name, so family, model and vector instructions are listed, too."""
    def field(path: str, key: str) -> str:
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            return ""
        return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), "")
    memory = field("/proc/meminfo", "MemTotal").split()
    name = field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    numbers = [f"{key} {value}" for key in ("cpu family", "model") if (value := field("/proc/cpuinfo", key))]
    flags = field("/proc/cpuinfo", "flags").split()
    return {"processor": ", ".join([name, *numbers, *(each for each in INSTRUCTIONS if each in flags)]),
            "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
            "memory": f"{int(memory[0]) / 2 ** 20:.1f} GiB" if memory else "unknown",
            "system": platform.system() + " " + platform.release(),
            "load before the start": "{:.2f}".format(os.getloadavg()[0])}


def conditions(side: str) -> tp.Dict[str, tp.Any]:
    """Version of torch, and its number of threads, in processes of a side."""
    done = subprocess.run([python(side), "-c", CONDITIONS], env=variables(side), cwd=HERE, check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def equal_conditions() -> tp.Dict[str, tp.Any]:
    """Version of torch and number of threads of both sides. Raises BenchmarkError if they differ."""
    ours, peer = conditions("ours"), conditions("published")
    if ours != peer:
        raise BenchmarkError(f"published Demucs ({python('published')}) has torch {peer['torch']} and "
                             f"{peer['threads']} threads, ours torch {ours['torch']} and {ours['threads']} threads; "
                             "they can only be compared with the same: run `make oracle`, and unset DEMUCS_ORACLE")
    return ours


def peer_versions() -> tp.Dict[str, str]:
    """Versions of Python and of the main packages of published Demucs' environment, by name."""
    done = subprocess.run([python("published"), "-c", PEER_VERSIONS], env=variables("published"), cwd=HERE, check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def page(results: tp.Mapping[str, tp.Sequence[Result]], *, machine: tp.Mapping[str, str],
         both: tp.Mapping[str, tp.Any], ours: tp.Mapping[str, str], peer: tp.Mapping[str, str], code: str, date: str,
         about: tp.Mapping[str, str], quick: bool) -> str:
    """Text of docs/benchmarks.md.

    Args:
        results: results by file name of the benchmark.
        machine: description of the machine.
        both: version of torch and number of threads, equal for both sides.
        ours, peer: versions of packages of each side.
        code: commit; "" if unknown.
        date: time of the call.
        about: descriptions by file name of the benchmark.
        quick: whether the settings were short.
    """
    def listed(pairs: tp.Mapping[str, str]) -> str:
        return ", ".join(f"{key} {value}" for key, value in pairs.items())
    return "\n".join([
        "# Benchmarks", "",
        "Written by `make bench`" + (" with **short settings (--quick): not for conclusions**." if quick else "."),
        "Each number is measured beside that of a peer, in the same run, on the same machine and the same input, in "
        "turns. The peer is published Demucs where the name says nothing else. It runs on the packages of our "
        f"environment: both sides have torch {both['torch']}, and {both['threads']} threads per process where the "
        "description says nothing else.", "",
        table(result for several in results.values() for result in several), "",
        "The ratio says how many times better ours is: our speed by the peer's for what is counted per second, the "
        "peer's time or memory by ours for all else. Above 1, ours is faster or smaller. The largest difference is "
        "that between what both computed.", "",
        "## Measured on", "",
        *(f"- {key}: {value}" for key, value in machine.items()),
        f"- date: {date}",
        f"- our environment: {listed(ours)}" + (f", commit {code}" if code else ""),
        f"- the peer's environment: {listed(peer)}", "",
        "## What is measured", "",
        *(f"- `benchmarks/{name}`: {text}" for name, text in about.items()), ""])


def about(script: Path) -> str:
    """Description of a benchmark: its module docstring without the command line."""
    paragraphs = (ast.get_docstring(ast.parse(script.read_text())) or "").split("\n\n")
    return " ".join(" ".join(each.split()) for each in paragraphs if not each.startswith(" "))


def main(argv: tp.Optional[tp.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser("benchmarks.run", description="Measure our code beside published Demucs.")
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(scripts)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="short settings, to see whether everything works")
    parser.add_argument("--printed", type=Path, metavar="FILE", help="what a call of today has printed: benchmarks "
                        "that are complete there are not run again")
    args = parser.parse_args(argv)
    unknown = sorted(set(args.names) - set(scripts))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(scripts)}")
    chosen = [scripts[name] for name in args.names or scripts]
    facts = machine()
    try:
        both, peer = equal_conditions(), peer_versions()
        results = {} if args.printed is None else complete(args.printed.read_text())
        results.update({path.name: run(path, QUICK.get(path.name, []) if args.quick else []) for path in chosen
                        if path.name not in results})
        results = {path.name: results[path.name] for path in chosen}
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = page(results, machine=facts, both=both, ours=versions(), peer=peer, code=commit(), date=now(),
                about={path.name: about(path) for path in chosen}, quick=args.quick)
    if args.quick or args.names:
        print(f"\n{text}")
    else:
        with atomic(PAGE) as file:
            file.write(text.encode())
        print(f"wrote {PAGE.relative_to(REPOSITORY)}")
    slower = [result for name, several in results.items() for result in several
              if result.ratio < ENOUGH and name not in MAY_BE_SLOWER]
    for result in slower:
        print(f"slower than published Demucs: {result.name}, ratio {result.ratio:.2f}", file=sys.stderr)
    return 1 if slower and not args.quick else 0


if __name__ == "__main__":
    sys.exit(main())
