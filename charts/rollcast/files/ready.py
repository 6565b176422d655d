# ruff: noqa: INP001  # a script that the chart puts into a pod
"""`helm test`: waits until every part of the release says that it is ready, and that it reaches Kafka."""

import json
import sys
import time
import urllib.error
import urllib.request

_SECONDS = 120.0


def _problem(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # a Service of the release
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error.read().decode(errors='replace')[:500]}"
    except (OSError, ValueError) as error:
        return str(error)
    problem = said.get("kafka_problem")
    return f"Kafka: {problem}" if problem else None


def main(urls: list[str]) -> int:
    deadline = time.monotonic() + _SECONDS
    waiting = dict.fromkeys(urls, "")
    while waiting:
        for url in list(waiting):
            problem = _problem(url)
            if problem is None:
                sys.stdout.write(f"{url}: ready\n")
                del waiting[url]
            else:
                waiting[url] = problem
        if waiting and time.monotonic() > deadline:
            for url, problem in waiting.items():
                sys.stderr.write(f"{url}: {problem}\n")
            return 1
        time.sleep(1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
