"""Addresses: IPv6, and nodes behind TLS."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import program
from lacking import need, skip
from mean import Mean

from colearn_client import Client, Key, Reach, audit, create_experiment, model, open, run
from colearn_client.errors import ColearnError, UnreachableError

if TYPE_CHECKING:
    from typing_extensions import Unpack


def learns(url: str, **reach: Unpack[Reach]) -> None:
    """Everything that a learner does with a node."""
    rules = {"max_rounds": 2, "min_learners": 1}
    create_experiment(url, "mean", Key.generate(), Mean([0.0]), rules, **reach)
    assert run(Mean([1.0, 2.0]), url, "mean", Key.generate(), patience=30, **reach).rounds == 2


def test_a_node_has_an_ipv6_address(tmp_path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        skip("ipv6", str(error))
    arguments = ["node", "--json", "--data", str(tmp_path / "node"), "--listen", "[::1]:0"]
    process = subprocess.Popen([*program(), *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["address"]
        assert url.startswith("http://[::1]:")
        learns(url)
        assert audit(url).ok
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def behind_tls(url: str, certificate: Path) -> Iterator[str]:
    """A proxy that speaks TLS in front of a node; its address."""
    host, port = url.removeprefix("http://").split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = [server]

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                caller, _ = server.accept()
            except OSError:
                return
            try:
                outside = context.wrap_socket(caller, server_side=True)
            except OSError:
                # It did not believe the certificate.
                continue
            inside = socket.create_connection((host, int(port)))
            opened.extend([outside, inside])
            for pair in [(outside, inside), (inside, outside)]:
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"https://localhost:{server.getsockname()[1]}"
    finally:
        for end in opened:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def certificate_of(folder: Path) -> Path:
    """A new certificate for this machine, with its key; nobody vouches for it but itself."""
    x509, ec = need("cryptography.x509"), need("cryptography.hazmat.primitives.asymmetric.ec")
    hashes = need("cryptography.hazmat.primitives.hashes")
    serialization = need("cryptography.hazmat.primitives.serialization")
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - day).not_valid_after(now + day)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    signed = made.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + signed.public_bytes(pem))
    (folder / "certificate.pem").write_bytes(signed.public_bytes(pem))
    return folder / "server.pem"


def test_a_node_behind_tls_is_believed_only_where_somebody_vouches_for_it(
    node, tmp_path, monkeypatch
) -> None:
    with behind_tls(node, certificate_of(tmp_path)) as url:
        with pytest.raises(UnreachableError, match="certificate"):
            Client(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        learns(url)
        assert audit(url).ok
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(UnreachableError, match=r"none\.pem \(SSL_CERT_FILE\)"):
            Client(url)
        with pytest.raises(ColearnError, match=r"none\.pem"):
            audit(url)


def test_whom_to_believe_and_who_one_is_are_said_for_each_node_alone(tmp_path) -> None:
    server, client = certificate_of(tmp_path / "server"), certificate_of(tmp_path / "client")
    vouches, mine = tmp_path / "server" / "certificate.pem", tmp_path / "client" / "certificate.pem"
    arguments = ["node", "--json", "--data", str(tmp_path / "node"), "--listen", "127.0.0.1:0"]
    arguments += ["--tls-cert", str(vouches), "--tls-key", str(server), "--client-ca", str(mine)]
    process = subprocess.Popen([*program(), *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        url = address.replace("127.0.0.1", "localhost")
        shown = Reach(client_cert=mine, client_key=client)
        reach = Reach(ca=vouches, **shown)
        learns(url, **reach)
        with Client(url, **reach) as known:
            assert known.experiment("mean")["name"] == "mean"
        ledger = open(url, **reach)
        assert ledger.verify() == len(list(ledger.entries())) > 0
        assert ledger.experiments().keys() == {"mean"} and ledger.checkpoint()
        got = model.get("mean", url, tmp_path / "mean.bin", **reach)
        assert model.verify(got.path, url, **reach).accepted
        # Half of it is not enough, wherever it is asked.
        for lacking in [Reach(), Reach(ca=vouches), shown]:
            with pytest.raises(UnreachableError, match="certificate"):
                Client(url, **lacking)
            with pytest.raises(ColearnError, match="certificate"):
                audit(url, **lacking)
            with pytest.raises(ColearnError, match="certificate"):
                model.get("mean", url, tmp_path / "none.bin", **lacking)
        with pytest.raises(ColearnError, match="go together"):
            Client(url, ca=vouches, client_cert=mine)
        with pytest.raises(TypeError, match="unexpected keyword argument 'cert'"):
            open(url, cert=mine).checkpoint()  # type: ignore[call-arg]
    finally:
        process.kill()
        process.communicate()
