"""Signatures: the key's owner signed exactly these bytes, or the file is refused."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from rollcast_common.errors import CacheProblem, ConfigError, UntrustedArtifact
from rollcast_common.signing import SignatureChecker, Signer, signature_key


def pem(key: Any) -> bytes:
    data: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return data


def public_pem(key: Any) -> bytes:
    data: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


class Keys:
    def __init__(self, folder: Path, name: str, curve: Any = ec.SECP256R1) -> None:
        key = ec.generate_private_key(curve())
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub"
        self.private.write_bytes(pem(key))
        self.public.write_bytes(public_pem(key))


class Signed:
    """A file and its signature, which each test spoils in its own way."""

    def __init__(self, folder: Path) -> None:
        self.keys = Keys(folder, "ours")
        self.model, self.signature = folder / "model.skops", folder / "model.skops.sig"
        self.model.write_bytes(b"a forest" * 1000)
        Signer(self.keys.private).sign(self.model, self.signature)

    def check(self) -> None:
        SignatureChecker(self.keys.public).check(self.model, self.signature, name="wine@1")

    def change(self, edit: Callable[[Any], None]) -> None:
        bundle = json.loads(self.signature.read_text())
        edit(bundle)
        self.signature.write_text(json.dumps(bundle))

    def change_statement(self, old: str, new: str) -> None:
        def edit(bundle: Any) -> None:
            envelope = bundle["dsseEnvelope"]
            text = base64.b64decode(envelope["payload"]).decode()
            assert old in text
            envelope["payload"] = base64.b64encode(text.replace(old, new).encode()).decode()

        self.change(edit)


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


def test_a_signed_file_holds_under_any_name(signed: Signed, tmp_path: Path) -> None:
    """The predictor's cache names files by their digest."""
    signed.check()
    signed.model = signed.model.rename(tmp_path / ("a" * 64))
    signed.check()


@pytest.mark.parametrize("curve", [ec.SECP384R1, ec.SECP521R1])
def test_other_curves(signed: Signed, tmp_path: Path, curve: Any) -> None:
    signed.keys = Keys(tmp_path, "other", curve)
    Signer(signed.keys.private).sign(signed.model, signed.signature)
    signed.check()


def _no_hint(bundle: Any) -> None:
    del bundle["verificationMaterial"]["publicKey"]["hint"]


def _hint_of(public: Path, bundle: Any) -> None:
    bundle["verificationMaterial"]["publicKey"]["hint"] = hashlib.sha256(public.read_bytes()).hexdigest()


def _other_key(signed: Signed) -> None:
    signed.keys = Keys(signed.model.parent, "other")


def _other_key_with_its_hint(signed: Signed) -> None:
    _other_key(signed)
    signed.change(lambda bundle: _hint_of(signed.keys.public, bundle))


def _other_digest(signed: Signed) -> None:
    """What a forger would want: the changed file's digest in the statement."""
    before = hashlib.sha256(signed.model.read_bytes()).hexdigest()
    signed.model.write_bytes(b"another forest")
    signed.change_statement(before, hashlib.sha256(b"another forest").hexdigest())


SPOILED: dict[str, Callable[[Signed], object]] = {
    "the model changed by a bit": lambda s: s.model.write_bytes(b"b" + s.model.read_bytes()[1:]),
    "the model cut off": lambda s: s.model.write_bytes(s.model.read_bytes()[:-1]),
    "the model empty": lambda s: s.model.write_bytes(b""),
    "another key": _other_key,
    "another key that the signature names": _other_key_with_its_hint,
    "the statement about other bytes": _other_digest,
    "the statement of another kind": lambda s: s.change_statement("signature/v1.0", "signature/v1.1"),
    "a signature of no bytes": lambda s: s.change(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="")),
    "no signatures": lambda s: s.change(lambda b: b["dsseEnvelope"].update(signatures=[])),
    "no key named": lambda s: s.change(_no_hint),
    "an empty signature": lambda s: s.signature.write_bytes(b""),
    "no JSON": lambda s: s.signature.write_bytes(b"\x80\x04]q\x00."),
    "a list": lambda s: s.signature.write_bytes(b"[]"),
    "nested without end": lambda s: s.signature.write_bytes(b'{"verificationMaterial":' + b"[" * 100_000),
    "the model itself": lambda s: s.signature.write_bytes(s.model.read_bytes()),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_refused_in_one_line(signed: Signed, spoil: Callable[[Signed], object], capfd: Any) -> None:
    spoil(signed)
    with pytest.raises(
        UntrustedArtifact, match=r"^wine@1: the signature does not hold for \w+\.pub and this"
    ) as refused:
        signed.check()
    assert str(refused.value).isprintable()
    assert capfd.readouterr().out == ""


def test_a_file_that_went_away_says_nothing_about_its_signature(signed: Signed) -> None:
    signed.signature.unlink()
    with pytest.raises(CacheProblem, match="No such file"):
        signed.check()


def test_a_key_that_cannot_be_used_is_told_at_the_start(signed: Signed, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    keys = [
        b"",
        b"no key",
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(ec.SECP256K1())),
        ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        ),
        signed.keys.public.read_bytes(),
    ]
    for data in keys:
        bad.write_bytes(data)
        with pytest.raises(ConfigError, match=r"signing key .*bad\.pem cannot be used \(\w+\), may be a PEM file"):
            Signer(bad)
    for data in [b"", public_pem(rsa.generate_private_key(65537, 2048)), signed.keys.private.read_bytes()]:
        bad.write_bytes(data)
        with pytest.raises(ConfigError, match=r"verify key .*bad\.pem cannot be used \(\w+\), may be a PEM file"):
            SignatureChecker(bad)
    with pytest.raises(ConfigError, match="No such file"):
        Signer(tmp_path / "none")


def test_where_a_signature_lies() -> None:
    assert signature_key("models/wine/v1.skops") == "models/wine/v1.skops.sig"
