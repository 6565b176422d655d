"""Signatures of model files: made by the trainer with a private key, checked by the predictor with the public one.

A signature is a Sigstore bundle in key mode, as `model_signing` writes it: a file beside the model, made and
checked without any service. Importing that package takes a second, so it waits until a key is given.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rollcast_common.errors import CacheProblem, ConfigError, UntrustedArtifact

if TYPE_CHECKING:
    from model_signing import verifying

__all__ = ["SignatureChecker", "Signer", "signature_key"]

_KEYS = "may be a PEM file of an elliptic curve key (prime256v1, secp384r1, secp521r1)"


class _PublicKey(msgspec.Struct):
    hint: str


class _Material(msgspec.Struct, rename="camel"):
    public_key: _PublicKey


class _Bundle(msgspec.Struct, rename="camel"):
    verification_material: _Material


_bundle_decoder = msgspec.json.Decoder(_Bundle)


def signature_key(artifact_key: str) -> str:
    """Where the signature of an artifact lies: beside it, `models/x.skops` → `models/x.skops.sig`."""
    return f"{artifact_key}.sig"


class Signer:
    """Raises ConfigError when the file holds no private key that can be used."""

    def __init__(self, private_key: Path) -> None:
        from model_signing import signing

        try:
            empty = signing.Config()  # type: ignore[no-untyped-call]  # its __init__ says no types
            self._config: signing.Config = empty.use_elliptic_key_signer(private_key=private_key)
        except Exception as error:  # noqa: BLE001  # a key that is none, or another kind of key, may raise anything
            raise _no_key("signing key", private_key, error) from None

    def sign(self, path: Path, signature: Path) -> None:
        self._config.sign(path, signature)


class SignatureChecker:
    """Raises ConfigError when the file holds no public key that can be used."""

    def __init__(self, public_key: Path) -> None:
        self._key = public_key
        self._config()

    def _config(self) -> "verifying.Config":
        """A fresh one for each file: it keeps what a signature says of how its file was hashed."""
        from model_signing import verifying

        try:
            empty = verifying.Config()  # type: ignore[no-untyped-call]  # its __init__ says no types
            return empty.use_elliptic_key_verifier(public_key=self._key)
        except Exception as error:  # noqa: BLE001  # as above
            raise _no_key("verify key", self._key, error) from None

    def check(self, path: Path, signature: Path, *, name: str) -> None:
        """Raises UntrustedArtifact unless the key's owner signed exactly these bytes."""
        config = self._config()
        try:
            # Bundles of an older kind name no key, and model_signing prints that to stdout.
            _bundle_decoder.decode(signature.read_bytes())
            config.verify(path, signature)
        except OSError as error:
            raise CacheProblem(f"{name}: its signature cannot be checked: {error.strerror or error}") from None
        except Exception as error:  # noqa: BLE001  # a signature from outside may make its reader raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(" :.")
            raise UntrustedArtifact(
                f"{name}: the signature does not hold for {self._key.name} and this file ({reason}); "
                "sign it with the right key, and announce it under a new version"
            ) from None


def _no_key(what: str, path: Path, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else type(error).__name__
    return ConfigError(f"{what} {path} cannot be used ({reason}), {_KEYS} without a password")
