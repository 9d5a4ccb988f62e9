"""Attack everything that takes bytes from a stranger, for a time or a number of inputs; `make fuzz`.

Each attacker runs in a process of its own. An input is a finding when anything but a documented error comes out, when
it takes more than 512 MB or 2 s of a core, or when the process ends or hangs. Each is kept with its bytes, and the same
seed and number make it again. Copy one into `corpus/ATTACKER/`, and the tests attack with it from then on.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parents[1] / part) for part in ("", "model", "test/support"))]

from attackers import ATTACKERS, Attacker, made  # noqa: E402
from mutation import generator  # noqa: E402

MOST_MB = 512.0
MOST_CPU_S = 2.0
_HANG_S = 60.0  # of silence: nothing here may wait
_TELL_S = 0.5
_PLACE = re.compile(r'File "[^"]*?((?:villa_ros|model/villa)/[^"]+)", line (\d+)')  # in the product
_BATCH = 2_000  # inputs of one attacker before it is the next one's turn


@dataclass
class Outcome:
    """What one input did."""

    told: str  # "refused", "taken", or the finding: "raised", "memory", "time"
    words: str = ""
    cpu_s: float = 0.0
    grown_mb: float = 0.0


class Meter:
    """Cost of one input: processor time of all threads, and how far memory rose above what was held before."""

    def __enter__(self) -> Meter:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._held_mb = _status_mb("VmRSS")
        self._cpu_s = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._cpu_s
        self.grown_mb = _status_mb("VmHWM") - self._held_mb


def _status_mb(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 0.0 if found is None else int(found[1]) / 1024


def outcome_of(attacker: Attacker, data: bytes) -> Outcome:
    """Attack with one input."""
    meter = Meter()
    told, words = "raised", ""
    with meter:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                # pycocotools was written before NumPy 2 passed `copy`
                warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword")
                told = attacker.attack(data)
        except MemoryError:
            told, words = "memory", traceback.format_exc()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            words = traceback.format_exc()
    if not words and meter.grown_mb > MOST_MB:
        told, words = "memory", f"{meter.grown_mb:.0f} MB more than before"
    if not words and meter.cpu_s > MOST_CPU_S:
        told, words = "time", f"{meter.cpu_s:.1f} s of a core"
    return Outcome(told, words, meter.cpu_s, meter.grown_mb)


@dataclass
class Tally:
    """What became of one attacker's inputs."""

    inputs: int = 0
    told: Counter[str] = field(default_factory=Counter)
    findings: dict[str, int] = field(default_factory=dict)  # what they have in common -> how many
    most_cpu_s: float = 0.0
    most_mb: float = 0.0
    seconds: float = 0.0


def _child(name: str, seed: int, first: int, count: int, folder: str, at: Any, pipe: Any) -> None:
    attacker = made(name, Path(folder))
    tally, told_s = Counter[str](), time.monotonic()
    most_cpu_s = most_mb = 0.0
    for number in range(first, first + count):
        at.value = number
        data = attacker.make(generator(name, seed, number))
        outcome = outcome_of(attacker, data)
        tally[outcome.told] += 1
        most_cpu_s, most_mb = max(most_cpu_s, outcome.cpu_s), max(most_mb, outcome.grown_mb)
        if outcome.words:
            pipe.send(("finding", number, outcome.told, outcome.words, data))
        if time.monotonic() - told_s > _TELL_S:
            pipe.send(("tally", dict(tally), most_cpu_s, most_mb))
            tally.clear()
            told_s = time.monotonic()
    pipe.send(("tally", dict(tally), most_cpu_s, most_mb))
    pipe.send(("done",))


class Arena:
    """Runs attackers, one batch after the other, and keeps what they find."""

    def __init__(self, out: Path, seed: int) -> None:
        self.tallies = {name: Tally() for name in ATTACKERS}
        self._out = out
        self._seed = seed
        self._next = dict.fromkeys(ATTACKERS, 0)
        self._context = multiprocessing.get_context("spawn")

    def batch(self, name: str, count: int, until_s: float = float("inf")) -> None:
        """So many inputs of one attacker; an input that ends the process is a finding, and the next one goes on."""
        end = self._next[name] + count
        began_s = time.monotonic()
        while self._next[name] < end and time.monotonic() < until_s:
            self._next[name] = self._process(name, self._next[name], end - self._next[name], until_s)
        self.tallies[name].seconds += time.monotonic() - began_s

    def _process(self, name: str, first: int, count: int, until_s: float) -> int:
        at = self._context.Value(ctypes.c_longlong, first - 1)
        ours, theirs = self._context.Pipe(duplex=False)
        folder = self._out / "work" / name
        child = self._context.Process(target=_child, args=(name, self._seed, first, count, str(folder), at, theirs))
        child.start()
        theirs.close()
        seen, moved_s = at.value, time.monotonic()
        ended = False
        while not ended:
            try:
                while ours.poll(0.1):
                    ended = self._hear(name, ours.recv()) or ended
            except EOFError:
                break
            if at.value != seen:
                seen, moved_s = at.value, time.monotonic()
            elif time.monotonic() - moved_s > _HANG_S:
                break
            if time.monotonic() > until_s:
                break
        whole = ended or time.monotonic() > until_s
        child.terminate() if not ended else None
        child.join(5.0)
        if child.is_alive():
            child.kill()
            child.join()
        reached = at.value
        if not whole:
            why = "hung" if time.monotonic() - moved_s > _HANG_S else f"died ({child.exitcode})"
            data = made(name, folder).make(generator(name, self._seed, max(reached, first)))
            self._hear(name, ("finding", reached, why, why, data))
            self.tallies[name].inputs += 1
        return reached + 1

    def _hear(self, name: str, message: tuple[Any, ...]) -> bool:
        tally = self.tallies[name]
        if message[0] == "tally":
            _, told, most_cpu_s, most_mb = message
            tally.told.update(told)
            tally.inputs += sum(told.values())
            tally.most_cpu_s, tally.most_mb = max(tally.most_cpu_s, most_cpu_s), max(tally.most_mb, most_mb)
        elif message[0] == "finding":
            _, number, kind, words, data = message
            common = f"{kind}: {_in_common(words)}"
            tally.findings[common] = tally.findings.get(common, 0) + 1
            if tally.findings[common] == 1:
                folder = self._out / "findings" / name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{self._seed}-{number}").write_bytes(data)
                (folder / f"{self._seed}-{number}.txt").write_text(words, "utf-8", "replace")
                print(f"{name} {number}: {common}", flush=True)
        return bool(message[0] == "done")


def _in_common(words: str) -> str:
    """The last place in the product that a traceback names, and the error's kind: what many findings share."""
    places = _PLACE.findall(words)
    kind = words.strip().splitlines()[-1].split(":")[0]
    return f"{kind} in {places[-1][0]}:{places[-1][1]}" if places else kind


def table(tallies: dict[str, Tally]) -> str:
    """For docs/reliability.md."""
    rows = [
        "| input | attacks | taken | refused | findings | most CPU, s | most memory, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, tally in tallies.items():
        if tally.inputs:
            rows.append(
                f"| {name} | {tally.inputs:,} | {tally.told['taken']:,} | {tally.told['refused']:,} | "
                f"{sum(tally.findings.values()):,} | {tally.most_cpu_s:.2f} | {max(0.0, tally.most_mb):.0f} |"
            )
    inputs = sum(tally.inputs for tally in tallies.values())
    findings = sum(sum(tally.findings.values()) for tally in tallies.values())
    return "\n".join([*rows, f"| **all** | **{inputs:,}** | | | **{findings:,}** | | |"])


def guided(name: str, minutes: float, out: Path) -> None:
    """Let atheris look for inputs that reach new lines of the product; ends the process.

    From the attacker's undamaged input and its corpus on. What is found lies in `out/guided/NAME` as `crash-...`.
    """
    import atheris

    attacker = made(name, out / "work" / name)
    seeds = out / "guided" / name
    seeds.mkdir(parents=True, exist_ok=True)
    (seeds / "undamaged").write_bytes(attacker.undamaged())
    with atheris.instrument_imports(include=["villa", "villa_ros"], enable_loader_override=False):
        attacker.attack(attacker.undamaged())  # imports what it attacks

    def one(data: bytes) -> None:
        try:
            attacker.attack(data)
        except Exception:
            if _PLACE.search(traceback.format_exc()):  # else the attacker itself could not read its input
                raise

    limits = [f"-max_total_time={60 * minutes:.0f}", "-rss_limit_mb=4096", "-timeout=20", f"-artifact_prefix={seeds}/"]
    atheris.Setup([sys.argv[0], *limits, str(seeds), *map(str, [HERE / "corpus" / name])], one)
    atheris.Fuzz()


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="how long, in all")
    parser.add_argument("--inputs", type=int, default=0, help="inputs of each attacker, in place of --minutes")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed makes the same inputs")
    parser.add_argument("--only", nargs="*", choices=sorted(ATTACKERS), default=sorted(ATTACKERS))
    parser.add_argument("--guided", choices=sorted(ATTACKERS), help="with atheris, which is to be installed: one kind")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    asked = parser.parse_args(arguments)
    if asked.guided:
        guided(asked.guided, asked.minutes, asked.out)
    arena = Arena(asked.out, asked.seed)
    print(f"seed {asked.seed}", flush=True)
    until_s = float("inf") if asked.inputs else time.monotonic() + 60.0 * asked.minutes
    left = dict.fromkeys(asked.only, asked.inputs or 10**12)
    share_s = 0.0 if asked.inputs else 60.0 * asked.minutes / len(asked.only)
    for name in asked.only:
        begun_s = time.monotonic()
        while left[name] > 0 and time.monotonic() < until_s:
            ends_s = min(until_s, begun_s + share_s) if share_s else until_s
            if time.monotonic() >= ends_s:
                break
            count = min(_BATCH, left[name])
            arena.batch(name, count, ends_s)
            left[name] -= count
        tally = arena.tallies[name]
        print(f"{name}: {tally.inputs:,} inputs, {sum(tally.findings.values())} findings", flush=True)
    text = table(arena.tallies)
    (asked.out / "table.md").write_text(text + "\n", "utf-8")
    (asked.out / "findings.json").write_text(
        json.dumps({name: tally.findings for name, tally in arena.tallies.items() if tally.findings}, indent=1), "utf-8"
    )
    print(text)
    return int(any(tally.findings for tally in arena.tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
