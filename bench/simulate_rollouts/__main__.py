"""`python -m bench.simulate_rollouts`: the promised error rates of verdicts, measured."""

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.simulate_rollouts.candidates import CANDIDATES
from bench.simulate_rollouts.recording import Recording, record
from bench.simulate_rollouts.trial import trial
from rollcast_cli.examples import find_example
from rollcast_rollout.model_version import Rollout

GOOD = ("identical", "retrained")
MODES: Mapping[str, Rollout] = {"shadow and steps": Rollout(), "steps only": Rollout(shadow_seconds=None)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="rollouts of each kind")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the others follow")
    parser.add_argument("--slots", type=int, default=3)
    parser.add_argument("--kind", choices=[*CANDIDATES], action="append", help="only this kind; may be given again")
    parser.add_argument("--mode", choices=[*MODES], default="shadow and steps")
    asked = parser.parse_args()
    begin = time.monotonic()
    recording = record(find_example(None, None, folder=Path.cwd()))
    table = Table(
        title=f"{recording.name}: {asked.count} rollouts of each kind, {asked.slots} slots, {asked.mode}, "
        f"seed {asked.seed}"
    )
    for name in ("candidate", "went live", "taken off", "seconds to the end", "reasons", "bar", ""):
        table.add_column(name)
    missed = False
    for kind in asked.kind or CANDIDATES:
        ends = _ends(recording, kind, asked.count, asked.seed, asked.slots, MODES[asked.mode])
        live = sum(1 for end, _ in ends if end == "Live")
        good = kind in GOOD
        within = asked.count - live <= asked.count / 100 if good else live <= asked.count / 100
        missed |= not within
        reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(end for end, _ in ends).most_common())
        median = statistics.median(seconds for _, seconds in ends)
        bar = "at most 1 % taken off" if good else "at least 99 % taken off"
        table.add_row(
            kind, str(live), str(asked.count - live), f"{median:.0f}", reasons, bar, "ok" if within else "MISSED"
        )
    console = Console(width=160)
    console.print(table)
    console.print(f"{time.monotonic() - begin:.0f} s")
    return 1 if missed else 0


def _ends(
    recording: Recording, kind: str, count: int, seed: int, slots: int, rollout: Rollout
) -> list[tuple[str, int]]:
    return [trial(recording, kind, seed + number, slots=slots, rollout=rollout) for number in range(count)]


if __name__ == "__main__":
    sys.exit(main())
