"""`python -m tests.chaos`: a campaign of faults under traffic, judged. Exit code 1 when a promise was broken."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Campaign, play
from tests.chaos.faults import FAULTS, faults_for
from tests.chaos.report import report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides requests, faults, their order and their targets")
    parser.add_argument("--requests", type=int, default=20_000, help="at least so many")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--rounds", type=int, default=3, help="each fault at least so many times")
    parser.add_argument("--minutes", type=float, default=0.0, help="at least so long")
    parser.add_argument("--most-pause", type=float, default=3.0, help="most seconds from a fault's end to the next one")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--faults", help="a list with commas; the default is all, but the only broker is not killed")
    parser.add_argument("--long", action="store_true", help="also faults that take a minute each")
    parser.add_argument("--keep", type=Path, help="the folder for histories and logs; the default is a temporary one")
    options = parser.parse_args()
    faults = options.faults.split(",") if options.faults else faults_for(options.brokers, long=options.long)
    if unknown := set(faults) - set(FAULTS):
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="rollcast-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    _say(f"seed {options.seed}; histories and logs: {folder}")
    campaign = Campaign(
        seed=options.seed,
        requests=options.requests,
        per_second=options.rate,
        rounds=options.rounds,
        minutes=options.minutes,
        brokers=options.brokers,
        slots=options.slots,
        faults=faults,
        most_pause_seconds=options.most_pause,
    )
    # While a broker is away each client says so 20 times a second, and that is what it was sent away for.
    logging.getLogger("rollcast.kafka").setLevel(logging.CRITICAL)
    played = play(campaign, folder.absolute(), _say)
    for line in report(played.verdict, played.events, seed=campaign.seed, seconds=played.seconds):
        _say(line)
    for slot, codes in played.restarts.items():
        _say(f"{slot} ended by itself and was started again; exit codes {codes}")
    _say(f"histories and logs: {folder}")
    return 0 if played.verdict.kept else 1


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201  # a command's answer


if __name__ == "__main__":
    sys.exit(main())
