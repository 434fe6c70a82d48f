# SPDX-License-Identifier: BSD-3-Clause
"""Proxies from Debian's packages, as plain processes, set up by the blocks of the documents."""
import os
import ssl
import subprocess
from dataclasses import dataclass
from typing import Callable

from daemon import free_port
from documents import NAME, example, replace
from proxied import ProxiedStream
from wire import connect, request, wait_until

MODULES = "/usr/lib/apache2/modules"


def make_certificate(directory):
    """Certificate and key in one file.  It is its own authority."""
    path = directory / "realtime.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
         "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", directory / "key", "-out", path],
        check=True, capture_output=True, timeout=60)
    with open(path, "a") as file:
        file.write((directory / "key").read_text())
    path.chmod(0o644)  # some give up root before they read it
    return path


@dataclass
class Place:
    """What a configuration has to name."""
    directory: object
    port: int
    backend: str  # HOST:PORT
    certificate: object


def apache(place):
    modules = ("mpm_event", "authz_core", "proxy", "proxy_http", "ssl", "http2", "socache_shmcb")
    load = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in modules)
    return (f"{load}ServerName {NAME}\nUser daemon\nGroup daemon\nPidFile {place.directory}/pid\n"
            f"ErrorLog {place.directory}/error.log\nListen {place.port}\n") + replace(
        example("apache", "ProxyPass", "doc/proxies.md"), ("*:443", f"*:{place.port}"),
        ("127.0.0.1:8088", place.backend), ("/etc/ssl/private/realtime.example.org.pem", str(place.certificate)))


def caddy(place):
    """Its certificate would come from a public authority."""
    return "{\n\tadmin off\n\tauto_https off\n}\n" + replace(
        example("caddyfile", "reverse_proxy", "doc/proxies.md"),
        ("realtime.example.org {", f"https://{NAME}:{place.port} {{\n\ttls {place.certificate} {place.certificate}"),
        ("127.0.0.1:8088", place.backend))


def h2o(place):
    return "user: nobody\n" + replace(
        example("yaml", "proxy.reverse", "doc/proxies.md"), (":443", f":{place.port}"),
        ("port: 443", f"port: {place.port}"), ("127.0.0.1:8088", place.backend),
        ("certificate-file: /etc/h2o/realtime.example.org.pem", f"certificate-file: {place.certificate}"),
        ("key-file: /etc/h2o/realtime.example.org.pem", f"key-file: {place.certificate}"))


def stunnel(place):
    return "foreground = yes\npid =\n" + replace(
        example("ini", "accept = ", "doc/proxies.md"), ("accept = 443", f"accept = {place.port}"),
        ("127.0.0.1:8088", place.backend), ("/etc/stunnel/realtime.example.org.pem", str(place.certificate)))


def hitch(place):
    host, _, port = place.backend.partition(":")
    return "user = \"nobody\"\n" + replace(
        example("text", "frontend", "doc/proxies.md"), (":443", f":{place.port}"),
        ("[127.0.0.1]:8088", f"[{host}]:{port}"), ("/etc/hitch/realtime.example.org.pem", str(place.certificate)))


def lighttpd(place):
    host, _, port = place.backend.partition(":")
    return f'server.document-root = "{place.directory}"\nserver.port = {place.port}\n' + replace(
        example("lighttpd", "proxy.server", "doc/proxies.md"), ("127.0.0.1", host), ("8088", port))


def squid(place):
    host, _, port = place.backend.partition(":")
    return f"pid_filename none\ncache_log {place.directory}/cache.log\naccess_log none\n" + replace(
        example("squid", "cache_peer", "doc/proxies.md"), ("http_port 80 ", f"http_port {place.port} "),
        ("127.0.0.1 parent 8088", f"{host} parent {port}"))


HAPROXY = "defaults\n    mode http\n    timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n"


def haproxy(place):
    return HAPROXY + replace(
        example("haproxy", "listen flagsse", "doc/proxies.md"), (":443", f":{place.port}"), ("127.0.0.1:8088", place.backend),
        ("/etc/haproxy/realtime.example.org.pem", str(place.certificate)))


def haproxy_without_tls(place):
    return replace(haproxy(place), (f" ssl crt {place.certificate} alpn h2,http/1.1", ""))


@dataclass
class Kind:
    configure: Callable
    command: tuple  # in which {} is the file
    tls: bool = True
    http2: bool = True


FRONTS = {
    "apache": Kind(apache, ("apache2", "-D", "FOREGROUND", "-f", "{}")),
    "caddy": Kind(caddy, ("caddy", "run", "--adapter", "caddyfile", "--config", "{}")),
    "h2o": Kind(h2o, ("h2o", "-c", "{}")),
    "stunnel": Kind(stunnel, ("stunnel4", "{}"), http2=False),
    "hitch": Kind(hitch, ("hitch", "--config={}"), http2=False),
    "lighttpd": Kind(lighttpd, ("lighttpd", "-D", "-f", "{}"), tls=False, http2=False),
    "squid": Kind(squid, ("squid", "-N", "-f", "{}"), tls=False, http2=False),
    "haproxy": Kind(haproxy, ("haproxy", "-f", "{}")),
    "haproxy without TLS": Kind(haproxy_without_tls, ("haproxy", "-f", "{}"), tls=False, http2=False),
}


class Front:
    """flagsse by way of one of them."""

    def __init__(self, kind, daemon, certificate, directory):
        self.kind = kind
        self.daemon = daemon
        self.certificate = certificate
        self.directory = directory
        self.address = ("127.0.0.1", free_port())
        self.process = None

    def start(self):
        file = self.directory / "configuration"
        self.directory.chmod(0o755)
        file.write_text(self.kind.configure(
            Place(self.directory, self.address[1], "%s:%d" % self.daemon.address, self.certificate)))
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(
                [word.replace("{}", str(file)) for word in self.kind.command], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env={**os.environ, "PATH": f"/usr/sbin:{os.environ['PATH']}", "HOME": str(self.directory)})
        wait_until(self._answers, self.log)
        return self

    def _answers(self):
        assert self.process.poll() is None, f"it has ended: {self.log()}"
        try:
            return self.request("GET", "/sse/health").status == 200
        except (OSError, EOFError):
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:  # squid, say, waits for its clients
            self.process.kill()
            self.process.wait(10)

    def log(self):
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self.directory.glob("*log"))

    def connect(self):
        sock = connect(self.address)
        if not self.kind.tls:
            return sock
        return ssl.create_default_context(cafile=self.certificate).wrap_socket(sock, server_hostname=NAME)

    def request(self, method, target, headers=(), body=None):
        return request((NAME, self.address[1]), method, target, headers, body, sock=self.connect())

    def stream(self, key, **options):
        return ProxiedStream((NAME, self.address[1]), key, sock=self.connect(), **options)

    def curl(self, key, *options):
        """What comes of a stream until its end; curl must take that for a clean one."""
        url = f"{'https' if self.kind.tls else 'http'}://{NAME}:{self.address[1]}/sse/environments/{key}/stream"
        return subprocess.run(
            ["curl", "-sSN", "--noproxy", "*", "--cacert", self.certificate, "--max-time", "20", "--resolve",
             f"{NAME}:{self.address[1]}:{self.address[0]}", *options, url], capture_output=True, check=True).stdout
