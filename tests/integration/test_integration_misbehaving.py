"""Models that hang or crash, disks that are full, records that fit nowhere: the stream goes on, or stops in time."""

import json
import os
import resource
from pathlib import Path

import numpy as np
from tests.env.predictor import World, line_of
from tests.env.records import set_largest_message

_MOODY = Path(__file__).parents[2] / "services" / "predictor" / "tests" / "importable"


def test_rows_that_hang_or_crash_the_model_become_dead_letters_and_cost_no_other_row(world: World) -> None:
    """More hanging rows than one batch has time for: what is done is committed, the rest is read again."""
    moods = {100 + number: "sleeps" for number in range(14)} | {390: "leaves"}
    requests = world.requests()
    for number in range(400):
        row = {"x": number, "mood": moods.get(number, "good")}
        requests.send(json.dumps(row).encode(), b"of one partition, hence of one batch")
    requests.flush()
    pickle = world.folder / "moody.pkl"
    # As pickle would write it, without importing a module that only hosts know.
    pickle.write_bytes(b"cmoody\nMoody\n(tR.")
    world.store.put_once("models/moody.pkl", pickle)
    world.announce("models/moody.pkl")
    python_path = os.pathsep.join([str(_MOODY), *filter(None, [os.environ.get("PYTHONPATH")])])
    slot = world.serve(
        "moody", "--allow-pickle", "--batch-deadline-seconds", "0.5", environ={"PYTHONPATH": python_path}
    )
    world.wait_answered(requests, [slot], seconds=120)

    answers = world.check_exactly_once(requests)
    reasons = sorted(letter.reason.value for letter, _ in answers.dead_letters)
    assert reasons == ["model-crash"] + ["model-timeout"] * 14
    slot.wait(lambda: slot.metric("batches_total")[""] > 1, "the batch was committed in parts", 5)


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
