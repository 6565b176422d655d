"""A real kube-apiserver on a real etcd, for tests: no nodes, no controllers, only the API and what it enforces.

What nobody does here: namespaces are never emptied, nothing is garbage collected, no pod ever runs.
"""

import base64
import datetime as dt
import ipaddress
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.env.kubernetes_binaries import BinariesUnavailable, Say, binaries
from tests.env.missing import missing

from rollcast_cli.local.ports import accepts, free_ports
from rollcast_cli.local.processes import Child, start, wait_until

_START_SECONDS = 180.0
_KUBECTL_SECONDS = 180.0
_GRACE_SECONDS = 5.0
_ISSUER = "https://kubernetes.default.svc.cluster.local"


class KubectlFailed(Exception):
    """kubectl ended with an error; `said` is what it wrote on stderr."""

    def __init__(self, arguments: Sequence[str], said: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)}: {said}")
        self.said = said


class KubeApi:
    """One API server, shared by a session's tests: work in a `namespace()` of your own, start again what you stop."""

    def __init__(self, folder: Path, assets: Path) -> None:
        self._folder = folder
        self._assets = assets
        self._etcd_port, self._peer_port, self._port = free_ports(3)
        self._pki = _make_pki(folder / "pki")
        self._etcd: Child | None = None
        self._server: Child | None = None
        self.kubeconfig = self._write_kubeconfig(
            "admin", {"client-certificate-data": self._pki.admin_certificate, "client-key-data": self._pki.admin_key}
        )

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def environ(self) -> dict[str, str]:
        """For processes of ours: who reads KUBECONFIG is the administrator here."""
        return {"KUBECONFIG": str(self.kubeconfig)}

    # Faults.

    def start(self) -> None:
        """Both servers, those that do not run; returns when the API is ready."""
        if self._etcd is None:
            self._etcd = self._start_etcd()
        if self._server is None:
            self._server = self._start_server()
            wait_until(
                self._is_ready,
                what="kube-apiserver is ready",
                timeout_seconds=_START_SECONDS,
                children=[self._etcd, self._server],
            )

    def stop(self) -> None:
        """The API server alone: connections are refused until `start`. What was written stays."""
        if self._server is not None:
            # It would wait for its watches; whoever holds one shall see it break.
            self._server.stop(grace_seconds=_GRACE_SECONDS)
            self._server = None

    def restart(self) -> None:
        """Both servers, on the same data and ports."""
        self.close()
        self.start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The API server is there and says nothing: connections are taken, requests and watches get no answer."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._server.pid, signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        if self._etcd is not None:
            self._etcd.stop(grace_seconds=_GRACE_SECONDS)
            self._etcd = None

    # Who may do what.

    def namespace(self, labels: Mapping[str, str] | None = None) -> str:
        """The name of a new one. Nothing ever deletes it: the controller that would is not here.

        It has its labels from the beginning: of those that are put on later, admission hears a moment late.
        """
        name = f"test-{uuid4().hex[:8]}"
        metadata = {"name": name, "labels": dict(labels or {})}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.kubectl("create", "--filename", "-", stdin=json.dumps(made))
        return name

    def service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig of this ServiceAccount, made if need be, with a real token: it may what RBAC lets it."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
        self.apply(account)
        token = self.kubectl("create", "token", name, "--namespace", namespace, "--duration", "24h").strip()
        return self._write_kubeconfig(f"{namespace}-{name}", {"token": token}, namespace)

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """What kubectl printed. Raises KubectlFailed."""
        result = subprocess.run(
            [str(self._assets / "kubectl"), *arguments],
            input=stdin if stdin is not None else "",
            env={**os.environ, "KUBECONFIG": str(kubeconfig or self.kubeconfig), "HOME": str(self._folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_KUBECTL_SECONDS,
        )
        if result.returncode:
            raise KubectlFailed(arguments, result.stderr.strip())
        return result.stdout

    def start_kubectl(self, *arguments: str, log: Path) -> Child:
        """Start kubectl, such as for a watch, and return at once; `log` gets what it prints."""
        command = [str(self._assets / "kubectl"), *arguments]
        return start(
            command, role="kubectl", log=log, environ={"KUBECONFIG": str(self.kubeconfig), "HOME": str(self._folder)}
        )

    def apply(self, *objects: dict[str, Any]) -> None:
        """`kubectl apply` of these."""
        self.kubectl("apply", "--filename", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def get(self, *arguments: str) -> Any:
        """`kubectl get … --output json`."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def install_crd(self, path: Path) -> None:
        """Apply a CustomResourceDefinition and wait until its resources can be used."""
        self.kubectl("apply", "--server-side", "--filename", str(path))
        self.kubectl("wait", "--for", "condition=established", "--timeout", "120s", "--filename", str(path))
        # Established is a moment before discovery knows it, and who asks by its name asks there first.
        names = yaml.safe_load(path.read_text(encoding="utf-8"))
        resource = f"{names['spec']['names']['plural']}.{names['spec']['group']}"

        def is_known() -> bool:
            try:
                self.kubectl("get", resource, "--all-namespaces")
            except KubectlFailed:
                return False
            return True

        wait_until(is_known, what=f"{resource} can be asked for", timeout_seconds=_KUBECTL_SECONDS)

    # Parts.

    def _start_etcd(self) -> Child:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        command = [
            *(str(self._assets / "etcd"), "--name", "test", "--data-dir", str(self._folder / "etcd")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"test={peer}"),
            *("--unsafe-no-fsync", "--log-level", "warn"),
        ]
        child = start(command, role="etcd", log=self._folder / "etcd.log")
        wait_until(
            lambda: accepts(self._etcd_port), what="etcd answers", timeout_seconds=_START_SECONDS, children=[child]
        )
        return child

    def _start_server(self) -> Child:
        pki = self._folder / "pki"
        options = {
            "etcd-servers": f"http://127.0.0.1:{self._etcd_port}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self._port,
            "endpoint-reconciler-type": "none",  # nobody reaches it through the Service kubernetes
            "service-cluster-ip-range": "10.0.0.0/24",
            "authorization-mode": "RBAC",
            "disable-admission-plugins": "ServiceAccount",  # the controller that makes the default ones is not here
            "client-ca-file": pki / "ca.crt",
            "tls-cert-file": pki / "server.crt",
            "tls-private-key-file": pki / "server.key",
            "cert-dir": pki,
            "service-account-issuer": _ISSUER,
            "service-account-key-file": pki / "accounts.pub",
            "service-account-signing-key-file": pki / "accounts.key",
        }
        command = [str(self._assets / "kube-apiserver"), *(f"--{name}={value}" for name, value in options.items())]
        return start(command, role="kube-apiserver", log=self._folder / "kube-apiserver.log")

    def _is_ready(self) -> bool:
        try:
            return self.kubectl("get", "--raw", "/readyz") == "ok"
        except KubectlFailed:
            return False

    def _write_kubeconfig(self, who: str, user: dict[str, str], namespace: str = "default") -> Path:
        cluster = {"server": self.url, "certificate-authority-data": self._pki.authority}
        path = self._folder / f"{who}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": cluster}],
                    "users": [{"name": who, "user": user}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": who, "namespace": namespace}}],
                    "current-context": "test",
                }
            ),
            encoding="utf-8",
        )
        path.chmod(0o600)
        return path


@contextmanager
def kube_api(folder: Path, say: Say) -> Iterator[KubeApi]:
    """Skips where the binaries are missing and cannot be built. `say` gets a line now and then during a build."""
    try:
        assets = binaries(say)
    except BinariesUnavailable as error:
        missing(f"needs kube-apiserver and etcd: {error}")
    api = KubeApi(folder, assets)
    try:
        api.start()
        yield api
    finally:
        api.close()


# Certificates, made on the fly. All but `ca.crt` and the keys of service accounts is in base64, as kubeconfigs want it.


@dataclass(frozen=True, slots=True)
class _Pki:
    authority: str
    admin_certificate: str
    admin_key: str


def _make_pki(folder: Path) -> _Pki:
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate([(NameOID.COMMON_NAME, "test authority")], ca_key, ca_key, None)
    server_key = ec.generate_private_key(ec.SECP256R1())
    server = _certificate([(NameOID.COMMON_NAME, "kube-apiserver")], server_key, ca_key, ca, server=True)
    admin_key = ec.generate_private_key(ec.SECP256R1())
    subject = [(NameOID.ORGANIZATION_NAME, "system:masters"), (NameOID.COMMON_NAME, "admin")]
    admin = _certificate(subject, admin_key, ca_key, ca)
    accounts_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for name, content in (
        ("ca.crt", _pem(ca)),
        ("server.crt", _pem(server)),
        ("server.key", _pem_key(server_key)),
        ("accounts.key", _pem_key(accounts_key)),
        (
            "accounts.pub",
            accounts_key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        ),
    ):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    authority, certificate, key = (
        base64.b64encode(data).decode() for data in (_pem(ca), _pem(admin), _pem_key(admin_key))
    )
    return _Pki(authority, certificate, key)


def _certificate(
    subject: list[tuple[x509.ObjectIdentifier, str]],
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    *,
    server: bool = False,
) -> x509.Certificate:
    """Of the authority itself when there is no `issuer`; else of a server on the loopback interface or of a client."""
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        # Python's own TLS wants both of these since 3.13.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_key_usage(signs=issuer is None), critical=True)
    )
    if issuer:
        use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    if server:
        here = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        builder = builder.add_extension(x509.SubjectAlternativeName(here), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
