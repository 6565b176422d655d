"""Models that hang or crash, disks that are full, records that fit nowhere: the stream goes on, or stops in time."""

import json
import os
import resource
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.env.predictor import Slot, World, line_of
from tests.env.records import set_largest_message

_MOODY = Path(__file__).parents[2] / "services" / "predictor" / "tests" / "importable"


_DEADLINE_SECONDS = 4.0
"""A good row that takes longer than this, because the machine does, breaks its host, too."""

_HOST_SECONDS = 10.0
"""For a fresh host, on such a machine."""


def serve_moody(world: World, *arguments: str) -> Slot:
    pickle = world.folder / "moody.pkl"
    # As pickle would write it, without importing a module that only hosts know.
    pickle.write_bytes(b"cmoody\nMoody\n(tR.")
    world.store.put_once("models/moody.pkl", pickle)
    world.announce("models/moody.pkl")
    python_path = os.pathsep.join([str(_MOODY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return world.serve("moody", "--allow-pickle", *arguments, environ={"PYTHONPATH": python_path})


@pytest.mark.parametrize(
    ("mood", "reason", "failures", "said"),
    [
        ("raises", "model-error", {}, ""),
        ("says_nan", "bad-output", {}, ""),
        ("says_one_for_all", "bad-output", {}, ""),
        ("says_too_much", "bad-output", {}, ""),
        ("says_too_little", "bad-output", {}, ""),
        ("dawdles", None, {}, ""),
        ("sleeps", "model-timeout", {"timeout": 3}, "was not done scoring after 4 s"),
        ("leaves", "model-crash", {"death": 3}, "ended while scoring (exit code 3)"),
        ("is_killed", "model-crash", {"death": 3}, "ended while scoring (signal SIGKILL; out of memory?)"),
        ("wants_too_much", "model-crash", {"death": 3}, "ended while scoring (out of memory)"),
    ],
)
def test_one_row_that_the_model_cannot_do_delays_its_neighbours_by_some_deadlines_at_most(
    world: World, mood: str, reason: str | None, failures: dict[str, float], said: str
) -> None:
    """The batch is tried twice and then row by row, so its good rows wait for three deadlines and three fresh hosts."""
    slot = serve_moody(
        world, "--batch-deadline-seconds", str(_DEADLINE_SECONDS), "--host-memory-bytes", str(1_500_000_000)
    )
    requests = world.requests()
    for number in range(60):
        row = {"x": number, "mood": mood if number == 20 else "good"}
        requests.send(json.dumps(row).encode(), b"of one partition, hence of one batch")
    world.wait_answered(requests, [slot])

    answers = world.check_exactly_once(requests)
    assert [letter.reason.value for letter, _ in answers.dead_letters] == ([reason] if reason else [])
    for letter, _ in answers.dead_letters:
        assert (letter.model, letter.version) == ("line", "moody")
    late_ms = max(prediction.prediction_time - prediction.request_time for _, prediction in answers.predictions)
    assert late_ms < 1000 * (_HOST_SECONDS + sum(failures.values()) * (_DEADLINE_SECONDS + _HOST_SECONDS))
    dead = {f'reason="{reason}"': 1} if reason else {}
    slot.wait(lambda: slot.metric("predictions_total")[""] + len(dead) == 60, "all are counted")
    slot.wait(lambda: slot.counted("dead_letters_total") == dead, "the dead letter is counted")
    assert slot.counted("host_failures_total") == {
        f'kind="{kind}",track="stable"': number for kind, number in failures.items()
    }
    lines = slot.events("host failed")
    assert len(lines) == sum(failures.values())
    for line in lines:
        assert line["model"] == "line@moody"
        assert said in line["problem"]


def test_an_output_that_the_client_itself_refuses_costs_no_other_its_prediction(world: World) -> None:
    config = world.folder / "kafka_config.yaml"
    config.write_text("producer:\n  properties:\n    message.max.bytes: 3000\n", encoding="utf-8")
    slot = serve_moody(world, "--kafka-config", str(config))
    requests = world.requests()
    for number in range(60):
        mood = "says_a_lot" if number in (20, 21, 40) else "good"
        requests.send(json.dumps({"x": number, "mood": mood}).encode(), b"of one partition, hence of one batch")
    world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    assert [letter.reason.value for letter, _ in answers.dead_letters] == ["output-refused"] * 3
    for letter, _ in answers.dead_letters:
        assert "Message size too large" in letter.message


def test_a_model_that_leaks_is_given_a_fresh_host_and_every_row_is_answered(world: World) -> None:
    slot = serve_moody(world, "--host-memory-bytes", str(1_500_000_000))
    requests = world.requests()
    for number in range(12):  # 300 MB each, one batch each
        requests.send(json.dumps({"x": number, "mood": "hoards"}).encode(), b"key")
        world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    assert answers.dead_letters == []
    assert slot.metric("host_failures_total")['kind="death",track="stable"'] > 0
    assert all("out of memory" in line["problem"] for line in slot.events("host failed"))


def test_a_host_has_no_credential_and_no_way_to_anybody_but_its_streamer(world: World) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    host = psutil.Process(slot.health()["host_pid"])
    zygote = host.parent()
    assert zygote is not None
    assert zygote.pid != slot.streamer_pid
    secret = world.environment()["ROLLCAST_S3_SECRET_ACCESS_KEY"]
    assert secret in psutil.Process(slot.streamer_pid).environ().values()
    for process in (host, zygote):
        # As the kernel has it, from when the process began.
        environ = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
        assert secret not in environ
        assert "ROLLCAST_" not in environ
        assert "AWS_" not in environ
        assert process.net_connections(kind="inet") == []


def test_rows_that_hang_or_crash_the_model_become_dead_letters_and_cost_no_other_row(world: World) -> None:
    """More hanging rows than one batch has time for: what is done is committed, the rest is read again."""
    moods = {100 + number: "sleeps" for number in range(8)} | {390: "leaves"}
    requests = world.requests()
    for number in range(400):
        row = {"x": number, "mood": moods.get(number, "good")}
        requests.send(json.dumps(row).encode(), b"of one partition, hence of one batch")
    requests.flush()
    slot = serve_moody(world, "--batch-deadline-seconds", "2")
    world.wait_answered(requests, [slot], seconds=300)

    answers = world.check_exactly_once(requests)
    reasons = sorted(letter.reason.value for letter, _ in answers.dead_letters)
    assert reasons == ["model-crash"] + ["model-timeout"] * 8
    slot.wait(lambda: slot.metric("batches_total")[""] > 1, "the batch was committed in parts")


def test_a_record_that_fits_nowhere_stops_the_streamer_before_anything_behind_it_is_committed(world: World) -> None:
    """Closing the consumer once committed the batch at the host, and so lost the batch that had failed."""
    for name in ("app_messages", "dead_letters"):
        set_largest_message(world.kafka, world.names.full(name), 3000)
    world.publish("v1", 2)
    slot = world.serve("v1", "--batch-rows", "10")
    requests = world.requests()
    requests.send_x(range(200))
    requests.flush()
    blob = np.random.default_rng(7).bytes(4000).hex().encode()
    requests.send(b'{"x":200,"blob":"%s"}' % blob, b"key-0")
    requests.send_x(range(201, 1000))
    requests.flush()
    # Each streamer that tries comes to the same end and says so.
    slot.wait(lambda: len(slot.events("predictor stopped")) > 1, "it stops, and stops again")
    hint = f"not even as dead letters; is max.message.bytes of {world.names.full('dead_letters')} large enough?"
    assert all(hint in line["problem"] for line in slot.events("predictor stopped"))
    [stuck] = [sent for sent in requests.sent if sent.value and len(sent.value) > 4000]
    assert world.committed()[stuck.partition] <= stuck.offset

    # Once somebody does what the line says, all goes on from there.
    set_largest_message(world.kafka, world.names.full("dead_letters"), 8_000_000)
    world.wait_answered(requests, [slot])
    answers = world.check_exactly_once(requests)
    assert [letter.reason.value for letter, _ in answers.dead_letters] == ["output-refused"]


def test_a_full_disk_keeps_the_old_model_serving_until_there_is_space(world: World) -> None:
    world.publish("v1", 2)
    slot = world.serve("v1")
    streamer = slot.streamer_pid
    resource.prlimit(streamer, resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    large = line_of(3)
    large.ballast_ = np.random.default_rng(7).random(100_000)
    world.upload(large, "v2")
    world.announce("models/v2.skops")
    problem = slot.wait_for_problem("cannot hold s3://")
    assert "File too large; free space or choose another" in problem
    requests = world.requests()
    requests.send_x(range(10))
    world.wait_answered(requests, [slot])
    assert {prediction.version for _, prediction in world.check_exactly_once(requests).predictions} == {"v1"}
    assert slot.metric("models_refused_total")[""] == 0

    resource.prlimit(streamer, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    slot.wait_for_version("v2")
