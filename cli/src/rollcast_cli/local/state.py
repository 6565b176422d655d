"""The folder that knows what runs here: `.rollcast/`, or the one that ROLLCAST_HOME names."""

import contextlib
import fcntl
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil
from pydantic import Field, SecretStr, ValidationError

from rollcast_common.config import Settings
from rollcast_common.errors import ConfigError
from rollcast_common.kafka import KafkaBrokerParams, KafkaParams, TopicNames

if TYPE_CHECKING:
    from rollcast_common.artifacts import S3Params

__all__ = ["ConsoleAccess", "ProcessRecord", "Stack", "StackS3", "StateFolder", "state_home"]

# What the watchdog of a stack that died abruptly needs to end its children, and a little more.
_LEFTOVERS_SECONDS = 10.0
# The clock that start times come from has a resolution of 10 ms; pids come round far more slowly.
_SAME_START_SECONDS = 1.0


class ProcessRecord(Settings):
    """A process and when it started (Unix seconds): together they are not met twice."""

    role: str
    pid: int
    started: float

    @classmethod
    def of(cls, role: str, pid: int) -> "ProcessRecord":
        """Raises ConfigError when there is no such process (any more)."""
        try:
            return cls(role=role, pid=pid, started=psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            raise ConfigError(f"{role} (pid {pid}) is not running") from None

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) < _SAME_START_SECONDS
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False


class StackS3(Settings):
    """S3Params with keys that a file can hold: it is readable by its owner only."""

    endpoint_url: str
    bucket: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"

    @classmethod
    def of(cls, params: "S3Params") -> "StackS3":
        secret = params.secret_access_key
        return cls(
            endpoint_url=params.endpoint_url or "",
            bucket=params.bucket,
            access_key_id=params.access_key_id or "",
            secret_access_key=secret.get_secret_value() if secret else "",
            region=params.region,
        )


class ConsoleAccess(Settings):
    """Where the web console is, and what to type there."""

    url: str
    user: str
    token: str


class Stack(Settings):
    """What `rollcast up` tells the other commands; rewritten whenever it changes."""

    installation: str
    owner: ProcessRecord
    """The process of `rollcast up`."""
    broker: Literal["kafka", "embedded"]
    servers: str
    guarantee: Literal["exactly_once", "at_least_once"]
    s3: StackS3
    topic_prefix: str = ""
    model: str | None = None
    processes: list[ProcessRecord] = Field(default_factory=list)
    metrics_ports: dict[str, int] = Field(default_factory=dict)
    """By role, on 127.0.0.1."""
    console: ConsoleAccess | None = None

    def kafka_params(self) -> KafkaParams:
        return KafkaParams(broker=KafkaBrokerParams(servers=self.servers), topics=TopicNames(prefix=self.topic_prefix))

    def s3_params(self) -> "S3Params":
        from rollcast_common.artifacts import S3Params  # boto3 takes a second, and few commands need it

        return S3Params(
            bucket=self.s3.bucket,
            endpoint_url=self.s3.endpoint_url,
            region=self.s3.region,
            access_key_id=self.s3.access_key_id,
            secret_access_key=SecretStr(self.s3.secret_access_key),
        )


def state_home(environ: Mapping[str, str] | None = None) -> Path:
    """ROLLCAST_HOME, or `.rollcast` in the working directory."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("ROLLCAST_HOME") or ".rollcast").absolute()


class StateFolder:
    """One stack at a time lives in it; the lock says so, `stack.json` says what it is."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or state_home()
        self._stack = self.path / "stack.json"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one stack, and leave no stack.json behind.

        The children of a stack that died abruptly are given 10 s to be gone. Raises ConfigError naming the holder.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be the state folder: {error.strerror}; set ROLLCAST_HOME") from None
        with os.fdopen(descriptor, "r+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"a local stack runs here already ({self.path}, pid {file.read().strip() or 'unknown'}); "
                    "stop it with `rollcast down`, or set ROLLCAST_HOME to another folder"
                ) from None
            self._wait_for_leftovers()
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                self._stack.unlink(missing_ok=True)

    def installation(self) -> str:
        """The name of this installation: made once, kept in the folder. It stands in group and transaction ids."""
        file = self.path / "installation"
        with contextlib.suppress(FileNotFoundError):
            return file.read_text(encoding="utf-8").strip()
        name = f"local-{secrets.token_hex(3)}"
        _write_atomically(file, name)
        return name

    def write_stack(self, stack: Stack) -> None:
        _write_atomically(self._stack, stack.model_dump_json(indent=2))

    def read_stack(self) -> Stack:
        """Raises ConfigError when no stack runs here."""
        try:
            stack = Stack.model_validate_json(self._stack.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise _no_stack(f"{self._stack}: no such file") from None
        except OSError as error:
            raise ConfigError(f"{self._stack}: cannot be read: {error.strerror or error}") from None
        except (ValidationError, UnicodeDecodeError):
            raise ConfigError(
                f"{self._stack} cannot be understood: another release wrote it; stop that stack, or remove the file"
            ) from None
        if not stack.owner.alive:
            raise _no_stack(f"the one in {self.path} is dead, pid {stack.owner.pid}")
        return stack

    def stop_stack(self, *, timeout_seconds: float) -> None:
        """Ask the stack's owner to end, and wait for it. Raises ConfigError when none runs or it does not end."""
        owner = self.read_stack().owner
        os.kill(owner.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout_seconds
        while owner.alive:
            if time.monotonic() > deadline:
                raise ConfigError(f"the stack in {self.path} (pid {owner.pid}) has not ended in {timeout_seconds:g} s")
            time.sleep(0.05)

    def _wait_for_leftovers(self) -> None:
        try:
            stack = Stack.model_validate_json(self._stack.read_text(encoding="utf-8"))
        except (OSError, ValidationError, UnicodeDecodeError):
            return
        deadline = time.monotonic() + _LEFTOVERS_SECONDS
        while left := [process for process in stack.processes if process.alive]:
            if time.monotonic() > deadline:
                named = ", ".join(f"{process.role} (pid {process.pid})" for process in left)
                raise ConfigError(f"{self.path}: processes of a stack that died are still there: {named}; end them")
            time.sleep(0.1)


def _no_stack(why: str) -> ConfigError:
    return ConfigError(f"no local stack is running here ({why}); start one with `rollcast up`")


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
