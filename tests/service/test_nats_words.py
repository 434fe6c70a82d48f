# SPDX-License-Identifier: BSD-3-Clause
"""What an administrator reads where NATS cannot be connected to: each reason in its own words; and users and
passwords in URLs, which this program decodes."""
import json

import pytest

from certificates import Certificates
from daemon import free_port
from nats import NatsClient
from wire import wait_until


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def refused(start):
    """refused(url, words): a daemon on this server says these words."""
    def check(url, words, env=None):
        daemon = start.daemon(wait="/livez", bus="nats", nats_url=url, env=env,
                              options=["nats.connect_timeout=5s"])
        line, *_ = daemon.wait_log("cannot connect to NATS")
        assert words in line, line
        assert "s3cret" not in daemon.log()
        assert words in wait_until(lambda: daemon.get("/readyz").body.decode(), "no /readyz")
    return check


TROUBLES = {"unknown CA": ("good", {}, "the CA of its certificate"),
            "expired": ("expired", {"days": -1}, "its certificate has expired"),
            "other name": ("other", {"host": "other.example"}, "its certificate is for another name")}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_certificate(start, refused, certificates, trouble):
    name, options, words = TROUBLES[trouble]
    server = start.nats(config=f"tls {{ {certificates.make(name, **options)} }}\n")
    refused(server.url.replace("nats:", "tls:"), words, {} if trouble == "unknown CA" else certificates.env)


def test_certificate_of_the_client(start, refused, certificates):
    server = start.nats(config=f'tls {{ {certificates.make("good")}, ca_file: "{certificates.ca}", verify: true }}\n')
    refused(server.url.replace("nats:", "tls:"), "it wants a certificate of its clients", certificates.env)


def test_no_tls(start, refused):
    refused(start.nats().url.replace("nats:", "tls:"), "it does not offer TLS")


def test_tls_unasked(start, certificates):
    """A server that wants TLS gets it, whatever the URL says."""
    server = start.nats(config=f'tls {{ {certificates.make("good")} }}\n')
    start.daemon(bus="nats", nats_url=server.url, env=certificates.env)


def test_no_more_connections(start, refused):
    server = start.nats(jetstream=False, config="max_connections: 1\n")
    # The connection by which the fixture has looked may not have ended yet.
    first = wait_until(lambda: try_client(server), "no connection")
    refused(server.url, "maximum connections exceeded")
    first.close()


def try_client(server):
    try:
        return NatsClient(server.port)
    except Exception:  # pylint: disable=broad-except
        return None


@pytest.mark.parametrize("user", ["", "flag:s3cret@", "s3cret@"])
def test_authorization(start, refused, user):
    server = start.nats(config="authorization { user: flag, password: other }\n",
                        credentials={"user": "flag", "pass": "other"})
    refused(f"nats://{user}127.0.0.1:{server.port}", "it refuses the user, the password or the token")


@pytest.mark.parametrize("host, words", [("nowhere.invalid", "Name or service not known|name resolution"),
                                         ("127.0.0.1", "Connection refused")])
def test_no_server(start, host, words):
    daemon = start.daemon(wait="/livez", bus="nats", nats_url=f"nats://{host}:{free_port()}",
                          options=["nats.connect_timeout=5s"])
    daemon.wait_log(f"cannot connect to NATS at {host}.*({words})")


def test_which_of_several(start):
    """Each in turn: the words are of the one that is named."""
    good = start.nats(config="authorization { user: a, password: b }\n", credentials={"user": "a", "pass": "b"})
    port = free_port()
    daemon = start.daemon(wait="/livez", bus="nats", nats_url=f"nats://127.0.0.1:{port},{good.url}")
    daemon.wait_log(f"cannot connect to NATS at .*; 127.0.0.1:({port}: Connection refused|{good.port}: it refuses)")


@pytest.mark.parametrize("written, password", [("p%40ss", "p@ss"), ("p@ss", "p@ss"), ("50%", "50%"), ("50%25", "50%"),
                                               ("a:b", "a:b"), ("%3A%2f", ":/")])
def test_password(start, key, written, password):
    server = start.nats(config=f'authorization {{ user: "a@b", password: {json.dumps(password)} }}\n',
                        credentials={"user": "a@b", "pass": password})
    daemon = start.daemon(bus="nats", nats_url=f"nats://a%40b:{written}@127.0.0.1:{server.port}")
    daemon.publish(key)


def test_token(start, key):
    server = start.nats(config='authorization { token: "t@k%en" }\n', credentials={"auth_token": "t@k%en"})
    daemon = start.daemon(bus="nats", nats_url=f"nats://t%40k%25en@127.0.0.1:{server.port}")
    daemon.publish(key)


def test_jetstream_is_off(start):
    daemon = start.daemon(wait="/livez", bus="nats", nats_url=start.nats(jetstream=False).url)
    daemon.wait_log(r"has JetStream switched off: start nats-server with `jetstream \{\}`")


def test_jetstream_is_off_for_the_account(start):
    server = start.nats(config="accounts { A { users: [{ user: a, password: b }] }, "
                               "B { jetstream: enabled, users: [{ user: c, password: d }] } }\n",
                        credentials={"user": "c", "pass": "d"})
    daemon = start.daemon(wait="/livez", bus="nats", nats_url=f"nats://a:b@127.0.0.1:{server.port}")
    daemon.wait_log("JetStream switched off for the account of flagsse's user. Add `jetstream: enabled`")


def test_leaf_node(start):
    """It has no JetStream of its own, and that of the hub has a domain."""
    port = free_port()
    start.nats(config=f'leafnodes {{ listen: "127.0.0.1:{port}" }}\n')
    leaf = start.nats(jetstream=False,
                      config=f'leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{port}" }}] }}\n')
    daemon = start.daemon(wait="/livez", bus="nats", nats_url=leaf.url)
    daemon.wait_log("(?i)leaf node")
