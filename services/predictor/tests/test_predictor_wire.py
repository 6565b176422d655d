"""What one end of the socket pair says arrives whole at the other end, or not at all and in time."""

import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from rollcast_predictor.wire import (
    Channel,
    ChannelClosed,
    ChannelTimeout,
    Loaded,
    LoadModel,
    Refused,
    ScoreBatch,
    Scored,
)

BATCH = msgspec.msgpack.Decoder(ScoreBatch)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


def test_every_message_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = Channel(ends[0]), Channel(ends[1])
    order = LoadModel(path="/m", format="skops", name="m@1", card_path="/c", trusted_types=["a.B"])
    for message in (
        order,
        ScoreBatch(2, [b'{"x":1}', None, b"", b"\xff"]),
        Scored(3, [b"1", b""], [(1, "empty", "é")]),
    ):
        here.send(message)
        assert there.receive(msgspec.msgpack.Decoder(type(message)), timeout_seconds=60) == message
    answers = msgspec.msgpack.Decoder(Loaded | Refused)
    for answer in (Loaded("Pipeline", 0.5, 0.25, 20), Refused("VersionMismatch", "no")):
        there.send(answer)
        assert here.receive(answers, timeout_seconds=60) == answer


def test_a_batch_larger_than_every_buffer_arrives_whole(ends: tuple[socket.socket, socket.socket]) -> None:
    batch = ScoreBatch(1, [bytes([row % 256]) * 10_000 for row in range(2_000)])
    received: list[ScoreBatch] = []
    reader = threading.Thread(target=lambda: received.append(Channel(ends[1]).receive(BATCH, timeout_seconds=60)))
    reader.start()
    Channel(ends[0]).send(batch, timeout_seconds=60)
    reader.join()
    assert received == [batch]


def test_the_deadline_is_of_the_whole_message_not_of_each_piece(ends: tuple[socket.socket, socket.socket]) -> None:
    """A host that trickles bytes is as late as one that says nothing."""
    over = threading.Event()

    def trickle() -> None:
        ends[0].sendall(b"\x00\x00\x10\x00")
        while not over.wait(0.05):
            ends[0].sendall(b"x")

    writer = threading.Thread(target=trickle)
    writer.start()
    started = time.monotonic()
    try:
        with pytest.raises(ChannelTimeout):
            Channel(ends[1]).receive(BATCH, timeout_seconds=0.4)
    finally:
        over.set()
        writer.join()
    assert 0.4 <= time.monotonic() - started < 60


def test_nobody_reading_is_a_timeout_for_the_writer(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(ChannelTimeout):
        Channel(ends[0]).send(ScoreBatch(1, [b"x" * 10_000_000]), timeout_seconds=0.2)


@pytest.mark.parametrize("said", [b"", b"\x00\x00", b"\x00\x00\x00\x09half"])
def test_an_end_that_goes_is_noticed_also_within_a_message(
    ends: tuple[socket.socket, socket.socket], said: bytes
) -> None:
    ends[0].sendall(said)
    ends[0].close()
    with pytest.raises(ChannelClosed):
        Channel(ends[1]).receive(BATCH, timeout_seconds=60)


def test_writing_to_an_end_that_is_gone_and_using_a_closed_one(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[1].close()
    with pytest.raises(ChannelClosed):
        Channel(ends[0]).send(ScoreBatch(1, [b"x" * 1_000_000]), timeout_seconds=60)
    channel = Channel(ends[0])
    channel.close()
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.send(ScoreBatch(1, []), timeout_seconds=60)
    with pytest.raises(ChannelClosed):
        channel.receive(BATCH, timeout_seconds=60)
