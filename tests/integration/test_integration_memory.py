"""However much waits in topic requests, little of it waits in memory."""

import re
import secrets
from pathlib import Path

import psutil
from tests.env.predictor import Slot, World

from rollcast_common.kafka import ErrorWatch, make_producer

_WAITING_BYTES = 400 << 20
_ROW_BYTES = 2000
_ROWS = _WAITING_BYTES // _ROW_BYTES

_QUEUED_BYTES = 64 << 20
"""`queued.max.messages.kbytes` of the slot's consumer: what it has fetched and nobody has polled."""

_PER_MESSAGE_BYTES = 600
"""What the client keeps of each record beside its value, and does not count."""

_FETCHES_BYTES = 2 * 4 * (1 << 20)
"""The answer that overshoots the limit: 1 MiB from each of 4 partitions, packed and unpacked."""

_BATCHES_BYTES = 4 * 2 * 2000 * (_ROW_BYTES + _PER_MESSAGE_BYTES)
"""One batch at the host, one being committed: values as they came, as they go to the host, as outputs, and in the
producer's queue."""

_BOUND_BYTES = (
    (_QUEUED_BYTES + _QUEUED_BYTES // _ROW_BYTES * _PER_MESSAGE_BYTES + _FETCHES_BYTES + _BATCHES_BYTES) * 5 // 4
)
"""With a quarter for what the allocator has not given back."""


def fill(world: World) -> None:
    """As fast as the broker takes it; rows that differ, so that packing makes them smaller, but not small."""
    producer = make_producer(
        world.kafka,
        ErrorWatch(world.kafka.broker.servers),
        client_id="test-filler",
        settings={"linger.ms": 50, "batch.size": 1_000_000, "queue.buffering.max.kbytes": 100_000},
    )
    topic = world.names.full("requests")
    blobs = [secrets.token_hex((_ROW_BYTES - 30) // 2).encode() for _ in range(2000)]
    for number in range(_ROWS):
        value = b'{"x":%d,"blob":"%s"}' % (number, blobs[number % len(blobs)])
        while True:
            try:
                producer.produce(topic, value, b"key-%d" % (number % 64))
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(60) == 0


def standby_bytes(slot: Slot) -> int:
    """What a streamer takes that has the same imports, and nothing to do."""
    active = slot.streamer_pid
    standbys = [child for child in psutil.Process(slot.pid).children() if child.pid != active]
    # Once it has a zygote its own imports are done.
    return max((child.memory_info().rss for child in standbys if child.children()), default=0)


def peak_bytes(pid: int) -> int:
    """The most that the process ever had in memory, as the kernel keeps it."""
    (line,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.MULTILINE)
    return int(line) * 1024


def test_hundreds_of_megabytes_that_wait_do_not_wait_in_memory(world: World) -> None:
    fill(world)
    world.publish("v1", 2)
    slot = world.serve("v1", "--no-features")
    streamer = psutil.Process(slot.streamer_pid)
    idle = 0

    def half_is_done() -> bool:
        nonlocal idle
        idle = idle or standby_bytes(slot)
        return bool(idle) and slot.metric("predictions_total").get("", 0.0) > _ROWS / 2

    slot.wait(half_is_done, "half of them are answered")
    grown = peak_bytes(streamer.pid) - idle
    assert slot.streamer_pid == streamer.pid
    assert grown < _BOUND_BYTES < _WAITING_BYTES / 2, f"{grown >> 20} MiB more than one that has nothing to do"
