# SPDX-License-Identifier: BSD-3-Clause
"""nginx, haproxy and varnish in the machine, from Debian's packages and by Debian's units, in front of flagsse.

What doc/proxies.md tells an administrator to write is read from there, and only what a test must change is changed.
"""
import ssl
from pathlib import Path

from documents import NAME, example, replace
from machine import ADDRESS4, Watch
from proxied import ProxiedStream
from service import Client, path_of
from wire import connect, request

CERTIFICATE, KEY, BOTH = (f"/etc/ssl/private/{NAME}.{suffix}" for suffix in ("crt", "key", "pem"))
UNITS = ("nginx.service", "haproxy.service", "varnish.service")

# Each way in: the port, and whether it is TLS.
FRONTS = {
    "nginx-default": (8081, False),
    "nginx": (443, True),
    "nginx-unix": (9443, True),
    "haproxy": (8443, True),
    "varnish": (6081, False),  # Debian's unit has that
}


def nginx_configuration():
    """First with nginx's defaults, then as doc/proxies.md has it, then the same over the unix socket."""
    block = replace(example("nginx", "server_name", "doc/proxies.md"), (
        "    # ssl_certificate ...\n", f"    ssl_certificate {CERTIFICATE};\n    ssl_certificate_key {KEY};\n"))
    over_unix = replace(
        block, ("listen 443 ", f"listen {FRONTS['nginx-unix'][0]} "),
        ("http://127.0.0.1:8088;", "http://unix:/run/flagsse.sock;"))
    default = (f"server {{\n    listen {FRONTS['nginx-default'][0]};\n"
               "    location / {\n        proxy_pass http://127.0.0.1:8088;\n    }\n}\n")
    return default + block + over_unix


def haproxy_configuration():
    """To be added to Debian's /etc/haproxy/haproxy.cfg.  Port 443 is nginx's here."""
    return "\n" + replace(
        example("haproxy", "listen flagsse", "doc/proxies.md"), ("bind :443 ", f"bind :{FRONTS['haproxy'][0]} "),
        ("/etc/haproxy/realtime.example.org.pem", BOTH))


class Front(Client):
    """flagsse by way of one of FRONTS."""

    def __init__(self, name, authority):
        self.port, self.tls = FRONTS[name]
        self.address = (ADDRESS4, self.port)
        self.authority = authority
        self.by_address = f"{'https' if self.tls else 'http'}://{ADDRESS4}:{self.port}"

    def connect(self):
        sock = connect(self.address)
        if not self.tls:
            return sock
        return ssl.create_default_context(cafile=self.authority).wrap_socket(sock, server_hostname=NAME)

    def request(self, method, target, headers=(), body=None, **options):
        return request(self.address, method, target, headers, body, sock=self.connect(), **options)

    def stream(self, key, **options):
        return ProxiedStream(self.address, key, sock=self.connect(), **options)

    def http_versions(self):
        """curl's options for those that it speaks."""
        return ("--http1.1", "--http2") if self.tls else ("--http1.1",)

    def watch(self, key, *options):
        scheme = "https" if self.tls else "http"
        return Watch([], f"{scheme}://{NAME}:{self.port}{path_of(key, 'stream')}", "--cacert", self.authority,
                     "--resolve", f"{NAME}:{self.port}:{ADDRESS4}", *options)


class Proxies:
    """All of them, running."""

    def __init__(self, machine):
        self.machine = machine
        self.authority = str(machine.directory / "certificate.pem")
        self.fronts = {name: Front(name, self.authority) for name in FRONTS}

    def start(self):
        machine = self.machine
        machine.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc",
                    "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
                    "-keyout", KEY, "-out", CERTIFICATE)
        machine.shell(f"cat {CERTIFICATE} {KEY} >{BOTH}")
        Path(self.authority).write_text(machine.run("cat", CERTIFICATE).stdout)
        machine.write("/etc/nginx/conf.d/test.conf", nginx_configuration())
        machine.shell("cp /etc/haproxy/haproxy.cfg /root/haproxy.cfg; cp /etc/varnish/default.vcl /root/default.vcl")
        machine.shell("cat >>/etc/haproxy/haproxy.cfg", input=haproxy_configuration())
        machine.write("/etc/varnish/default.vcl", example("vcl", "return (pipe)", "doc/proxies.md"))
        machine.systemctl("start", *UNITS)

    def stop(self):
        machine = self.machine
        machine.systemctl("stop", *UNITS, check=False)
        machine.systemctl("reset-failed", *UNITS, check=False)
        machine.shell(f"rm -f /etc/nginx/conf.d/test.conf {CERTIFICATE} {KEY} {BOTH};"
                      " mv /root/haproxy.cfg /etc/haproxy/haproxy.cfg; mv /root/default.vcl /etc/varnish/default.vcl",
                      check=False)

    def log(self):
        """What they have said since the test began."""
        units = " ".join(f"-u {unit}" for unit in UNITS)
        return self.machine.shell(
            f"journalctl --sync; journalctl --no-pager --no-hostname --after-cursor='{self.machine.cursor}' {units};"
            " tail -n 20 /var/log/nginx/error.log /var/log/nginx/access.log;"
            " timeout 10 varnishlog -d -g request 2>&1 | tail -n 60", check=False).stdout
