"""How a service's command ends: in one log line, with an exit code that says whether trying again may help."""

import json
import subprocess
import sys

import pytest

ENDINGS = {
    "a wrong setting": ("ConfigError('x')", "json", 1, "thing stopped"),
    "a refusal": ("KafkaDenied('x')", "json", 1, "thing stopped"),
    "a missing topic": ("TopicMissing('x')", "json", 1, "thing stopped"),
    "an outage": ("KafkaUnavailable('x')", "json", 75, "thing stopped"),
    "a bug": ("ZeroDivisionError('x')", "json", 75, "thing failed"),
    "a wrong log format": ("ZeroDivisionError('never raised')", "xml", 1, "thing stopped"),
}


@pytest.mark.parametrize(("raised", "log_format", "code", "event"), ENDINGS.values(), ids=ENDINGS)
def test_an_ending_is_a_log_line_and_an_exit_code(raised: str, log_format: str, code: int, event: str) -> None:
    program = (
        "from rollcast_common.errors import *\n"
        "from rollcast_common.service import service_run\n"
        f"with service_run('thing', {log_format!r}): raise {raised}\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == code, ended.stderr
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["event"], line["service"]) == (event, "thing")


def test_a_signal_sets_the_event_and_the_block_ends_as_it_likes() -> None:
    program = (
        "import os, signal\n"
        "from rollcast_common.service import service_run\n"
        "with service_run('thing', 'json') as (fmt, stopping):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert fmt == 'json' and stopping.wait(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
