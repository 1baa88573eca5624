import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from atelier.data.sources.opening import open_source, source_digest
from atelier.errors import DataError, RemoteError
from atelier.params import Source
from tests.support.picture_files import encoded, packed

ARCHIVE = packed([("cat/a.png", encoded()), ("dog/b.png", encoded(seed=1))])
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the archive; half of it at /half; nothing else is there."""

    requests = []

    def do_GET(self):
        self.requests.append(self.path)
        if self.path not in ("/a.zip", "/half"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(ARCHIVE)))
        self.end_headers()
        self.wfile.write(ARCHIVE if self.path == "/a.zip" else ARCHIVE[: len(ARCHIVE) // 2])

    def log_message(self, *_):
        pass


def certificate(folder):
    """A certificate of our own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(private)
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def server(tmp_path_factory, monkeypatch):
    """The address of a real HTTPS server on loopback, whose certificate is trusted."""
    public, private = certificate(tmp_path_factory.mktemp("certificate"))
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(Handler, "requests", [])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def at(address, sha256=SHA256):
    return Source(source="archive", path=address, sha256=sha256)


def leftovers(project):
    return [
        path.name
        for path in (project / ".atelier").rglob("*")
        if path.is_file() and path.suffix != ".lock"
    ]


def test_an_archive_is_fetched_once_and_checked(tmp_path, server):
    assert source_digest(tmp_path, at(f"{server}/a.zip")) == SHA256
    assert Handler.requests == []
    for _ in range(2):
        assert [item.class_name for item in open_source(tmp_path, at(f"{server}/a.zip")).items] == [
            "cat",
            "dog",
        ]
    assert Handler.requests == ["/a.zip"]
    assert (tmp_path / ".atelier" / "sources" / SHA256).read_bytes() == ARCHIVE


def test_a_fetched_file_that_was_damaged_is_fetched_again(tmp_path, server):
    open_source(tmp_path, at(f"{server}/a.zip"))
    (tmp_path / ".atelier" / "sources" / SHA256).write_bytes(ARCHIVE[:-1] + b"x")
    open_source(tmp_path, at(f"{server}/a.zip"))
    assert Handler.requests == ["/a.zip"] * 2


def test_another_file_than_was_meant_is_refused_with_both_sums(tmp_path, server):
    with pytest.raises(
        DataError,
        match=rf"expected the sha256 {'0' * 64}, found {SHA256} \({len(ARCHIVE):,} bytes\)",
    ):
        open_source(tmp_path, at(f"{server}/a.zip", "0" * 64))
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/half", "the connection broke .* before the end"),
        ("/other", "can't be fetched: HTTP Error 404"),
    ],
)
def test_what_the_network_or_the_server_does_wrong_may_be_tried_again(tmp_path, server, path, said):
    with pytest.raises(RemoteError, match=said):
        open_source(tmp_path, at(f"{server}{path}"))
    assert leftovers(tmp_path) == []


def test_a_certificate_that_nobody_trusts_is_refused(tmp_path, server, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(RemoteError, match="can't be fetched: .*certificate"):
        open_source(tmp_path, at(f"{server}/a.zip"))


def test_a_host_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RemoteError, match=r"https://host\.invalid/a\.zip can't be fetched"):
        open_source(tmp_path, at("https://host.invalid/a.zip"))
