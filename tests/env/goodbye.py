"""A way to a Kafka broker on which its last goodbye can be heard on demand.

A broker that shuts down when no other is left answers its last metadata requests with no broker in them. The moment is
short and comes once in hundreds of restarts; here it lasts as long as a test wants.
"""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["GoodbyeProxy"]

_METADATA = 3
_FIRST_FLEXIBLE = 9
"""From this version on a metadata response is in the format that `without_brokers` reads."""


class GoodbyeProxy:
    """Stands between clients and a broker whose advertised address is this one's."""

    def __init__(self, port: int, broker_port: int) -> None:
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", port))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._goodbye = threading.Event()
        self._heard: Counter[str] = Counter()

    @contextmanager
    def running(self) -> Iterator["GoodbyeProxy"]:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join()

    def heard(self) -> Counter[str]:
        """How many answers without brokers were given, by client id."""
        return Counter(self._heard)

    def begin_goodbye(self) -> None:
        """Connections end, and whoever comes back is told of no broker before the connection ends again."""
        self._heard.clear()
        self._goodbye.set()
        self._cut()

    def end_goodbye(self) -> None:
        self._goodbye.clear()

    def _cut(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        threads = []
        with suppress(OSError):  # closed: it is over
            while True:
                client, _ = self._listener.accept()
                threads.append(threading.Thread(target=self._relay, args=(client,)))
                threads[-1].start()
        self._cut()
        for thread in threads:
            thread.join()

    def _relay(self, client: socket.socket) -> None:
        address = "127.0.0.1", self._broker_port
        with client, suppress(ConnectionError), socket.create_connection(address) as broker:
            with self._lock:
                self._open |= {client, broker}
            asked: dict[bytes, tuple[int, str]] = {}
            requests = threading.Thread(target=self._requests, args=(client, broker, asked))
            requests.start()
            self._responses(client, broker, asked)
            requests.join()
            with self._lock:
                self._open -= {client, broker}

    def _requests(self, client: socket.socket, broker: socket.socket, asked: dict[bytes, tuple[int, str]]) -> None:
        """`asked`: by correlation id, the version of a metadata request and its client's id."""
        with suppress(OSError):
            for frame in _frames(client):
                key, version = int.from_bytes(frame[:2]), int.from_bytes(frame[2:4])
                if key == _METADATA:
                    length = int.from_bytes(frame[8:10])
                    asked[frame[4:8]] = version, frame[10 : 10 + length].decode()
                broker.sendall(len(frame).to_bytes(4) + frame)
        _end(client, broker)

    def _responses(self, client: socket.socket, broker: socket.socket, asked: dict[bytes, tuple[int, str]]) -> None:
        with suppress(OSError):
            for frame in _frames(broker):
                version, client_id = asked.pop(frame[:4], (0, ""))
                is_last = version >= _FIRST_FLEXIBLE and self._goodbye.is_set()
                answer = without_brokers(frame) if is_last else frame
                client.sendall(len(answer).to_bytes(4) + answer)
                if is_last:
                    self._heard[client_id] += 1
                    break
        _end(client, broker)


def without_brokers(response: bytes) -> bytes:
    """A metadata response (version 9 or later, header included) whose list of brokers is empty.

    The format is Kafka's MetadataResponse.json; lengths of what is compact are one more than they are.
    """
    begin = 4 + 1 + 4  # correlation id, no tagged fields, throttle time
    count, at = _uvarint(response, begin)
    for _ in range(count - 1):
        at += 4  # node id
        length, at = _uvarint(response, at)
        at += length - 1 + 4  # host, port
        length, at = _uvarint(response, at)
        at += max(0, length - 1)  # rack
        tags, at = _uvarint(response, at)
        assert tags == 0
    return response[:begin] + b"\x01" + response[at:]


def _uvarint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next thing begins."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # the last byte has no continuation bit
            return number, at


def _frames(connection: socket.socket) -> Iterator[bytes]:
    with connection.makefile("rb") as file:
        while len(size := file.read(4)) == 4:  # an int32
            yield file.read(int.from_bytes(size))


def _end(*connections: socket.socket) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
