"""Model files on S3: put once, fetched by digest."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from pydantic import Field, SecretStr, model_validator

from rollcast_common.config import Settings, environment_overrides, load_yaml, merged
from rollcast_common.errors import (
    ArtifactExists,
    ArtifactNotFound,
    CacheProblem,
    ConfigError,
    DigestMismatch,
    RollcastError,
    StoreDenied,
    StoreProblem,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["ArtifactRef", "ArtifactStore", "S3Params", "load_s3_params", "parse_uri", "sha256_of"]

_CHUNK_BYTES = 1 << 20

_ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "ROLLCAST_S3_ENDPOINT_URL": ("endpoint_url",),
    "ROLLCAST_S3_REGION": ("region",),
    "ROLLCAST_S3_BUCKET": ("bucket",),
    "ROLLCAST_S3_ACCESS_KEY_ID": ("access_key_id",),
    "ROLLCAST_S3_SECRET_ACCESS_KEY": ("secret_access_key",),
}

# The last is versitygw's word for an unknown access key.
_DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Forbidden", "XAdminUserNotFound")


class S3Params(Settings):
    """Where model files lie. Without keys here, boto3 finds its own (environment, profile, IRSA)."""

    bucket: Annotated[str, Field(min_length=1)]
    endpoint_url: Annotated[str, Field(pattern=r"^https?://[^/]")] | None = None
    """None is AWS itself."""
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None

    @model_validator(mode="after")
    def _both_keys_or_none(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id and secret_access_key belong together: give both or none")
        return self


def load_s3_params(path: Path | None, environ: Mapping[str, str] | None = None) -> S3Params:
    """Read `path` (optional) and lay ROLLCAST_S3_… over it. Raises ConfigError."""
    values = merged(load_yaml(path) if path else {}, environment_overrides(_ENVIRONMENT, environ))
    if "bucket" not in values:
        raise ConfigError("S3 is not configured: give --s3-config s3_config.yaml or set ROLLCAST_S3_BUCKET")
    return S3Params.from_mapping(values, source=str(path) if path else "environment")


@dataclass(frozen=True, slots=True)
class ArtifactRef:
    """An object and, once resolved, exactly which bytes: version id (None without versioning), size, digest."""

    bucket: str
    key: str
    sha256: str | None = None
    size_bytes: int | None = None
    version_id: str | None = None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def parse_uri(uri: str, default_bucket: str) -> ArtifactRef:
    """`s3://bucket/key`, or a bare key in the default bucket. Raises ConfigError."""
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
    elif "://" in uri:
        raise ConfigError(f"artifact uri was {uri!r}, may be s3://bucket/key or a key")
    else:
        bucket, key = default_bucket, uri.lstrip("/")
    if not bucket or not key:
        raise ConfigError(f"artifact uri was {uri!r}, may be s3://bucket/key or a key")
    return ArtifactRef(bucket, key)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


class ArtifactStore:
    """S3 as this system uses it. Every error is one of ours and says where and what to do."""

    def __init__(self, params: S3Params, *, timeout_seconds: float = 10.0, attempts: int = 3) -> None:
        self._params = params
        secret = params.secret_access_key
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=params.endpoint_url,
            region_name=params.region,
            aws_access_key_id=params.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(
                connect_timeout=timeout_seconds,
                read_timeout=timeout_seconds,
                retries={"mode": "standard", "total_max_attempts": attempts},
                # Checksums beyond what S3 requires trip servers that are not AWS.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"} if params.endpoint_url else {},
            ),
        )

    @property
    def bucket(self) -> str:
        return self._params.bucket

    @property
    def _where(self) -> str:
        return self._params.endpoint_url or f"S3 in {self._params.region}"

    def ensure_bucket(self) -> None:
        """Create the default bucket where it is missing: for one machine and tests."""
        try:
            self._client.create_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise self._problem(error, "creating bucket", self.bucket) from None
        except BotoCoreError as error:
            raise self._problem(error, "creating bucket", self.bucket) from None

    def check_bucket(self) -> None:
        """Raises StoreUnavailable, StoreDenied or StoreProblem (no such bucket) before any work is done."""
        try:
            # Needs the same permission as HEAD, whose answer has no body to tell a wrong key from a missing bucket.
            self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)
        except (ClientError, BotoCoreError) as error:
            raise self._problem(error, "looking for bucket", self.bucket) from None

    def put_once(self, key: str, path: Path, *, content_type: str = "application/octet-stream") -> ArtifactRef:
        """Upload a file to a key that is free, or that already holds the same bytes.

        Raises ArtifactExists when it holds other bytes, StoreProblem when S3 does not take it.
        """
        sha256 = sha256_of(path)
        ref = ArtifactRef(self.bucket, key, sha256, path.stat().st_size)
        try:
            with path.open("rb") as file:
                answer = self._client.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=file,
                    ContentType=content_type,
                    ChecksumAlgorithm="SHA256",
                    IfNoneMatch="*",
                    Metadata={"sha256": sha256},
                )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code not in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
                raise self._problem(error, "writing", ref.uri) from None
            held = self.resolve(ArtifactRef(self.bucket, key))
            if held.sha256 != sha256:
                raise ArtifactExists(
                    f"{ref.uri} already holds other bytes (sha256 {held.sha256}); "
                    "artifacts are written once: choose another version"
                ) from None
            return held
        except BotoCoreError as error:
            raise self._problem(error, "writing", ref.uri) from None
        return ArtifactRef(self.bucket, key, sha256, ref.size_bytes, _real_version(answer.get("VersionId")))

    def resolve(self, ref: ArtifactRef) -> ArtifactRef:
        """The same object with version id, size and digest; the digest of the bytes as they lie there.

        Raises as `fetch` does, and writes nothing.
        """
        return self._download(ref, lambda _: None)

    def fetch(self, ref: ArtifactRef, target: Path) -> ArtifactRef:
        """Write the object to `target`, whole or not at all, and say which bytes it is.

        Raises ArtifactNotFound, DigestMismatch when `ref` names another digest, StoreProblem, and
        CacheProblem when the disk does not take it.
        """
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                found = self._download(ref, file.write)
            temporary.replace(target)
        except OSError as error:
            raise CacheProblem(
                f"{target.parent}: cannot hold {ref.uri}: {error.strerror or error}; free space or choose another "
                "cache folder"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)
        return found

    def _download(self, ref: ArtifactRef, write: Callable[[bytes], object]) -> ArtifactRef:
        digest = hashlib.sha256()
        size = 0
        try:
            answer = (
                self._client.get_object(Bucket=ref.bucket, Key=ref.key, VersionId=ref.version_id)
                if ref.version_id
                else self._client.get_object(Bucket=ref.bucket, Key=ref.key)
            )
            with contextlib.closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
                    write(chunk)
        except (ClientError, BotoCoreError, HTTPClientError) as error:
            raise self._problem(error, "reading", ref.uri) from None
        if ref.sha256 and digest.hexdigest() != ref.sha256:
            raise DigestMismatch(ref.uri, ref.sha256, digest.hexdigest())
        return ArtifactRef(ref.bucket, ref.key, digest.hexdigest(), size, _real_version(answer.get("VersionId")))

    def _problem(self, error: Exception, doing: str, what: str) -> RollcastError:
        if isinstance(error, ClientError):
            code = error.response["Error"]["Code"]
            if code == "NoSuchBucket":
                return StoreProblem(
                    f"{self._where}: {doing} {what}: no such bucket; create it or set ROLLCAST_S3_BUCKET"
                )
            if code in ("NoSuchKey", "404", "NoSuchVersion"):
                return ArtifactNotFound(f"{self._where}: {what}: no such object; was it uploaded?")
            if code in _DENIED:
                return StoreDenied(f"{self._where}: {doing} {what}: denied ({code}); check the access keys")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            text = f"{self._where}: {doing} {what}: {code}: {error.response['Error'].get('Message', '')}"
            return StoreUnavailable(text) if status >= 500 else StoreProblem(text)  # noqa: PLR2004  # HTTP 5xx
        if isinstance(error, BotoConnectionError | HTTPClientError):
            return StoreUnavailable(
                f"{self._where}: {doing} {what}: not reachable; is S3 running, and is the endpoint "
                "(ROLLCAST_S3_ENDPOINT_URL) right?"
            )
        return StoreProblem(f"{self._where}: {doing} {what}: {error}")


def _real_version(version_id: str | None) -> str | None:
    """Servers without versioning answer with nothing, or with the word null."""
    return None if version_id in (None, "", "null") else version_id
