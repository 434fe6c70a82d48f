# SPDX-License-Identifier: BSD-3-Clause
"""The configuration as an operator meets it: where settings come from, and what is said of wrong ones."""
import configparser
import os
import re
import subprocess

import pytest

from daemon import TOKEN, authorization, clean_environment, program, run
from wire import wait_until

WITH_TOKEN = {"SSE_AUTHENTICATION_TOKEN": TOKEN}
EX_USAGE, EX_CONFIG = 64, 78


class Files:
    """A main file and its conf.d in a directory."""

    def __init__(self, directory):
        self.directory = directory
        self.main = directory / "flagsse.conf"
        self.main.write_text("")
        (directory / "conf.d").mkdir()

    def write(self, text):
        self.main.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self

    def drop_in(self, name, text):
        (self.directory / "conf.d" / name).write_text(text)
        return self

    def run(self, *arguments, env=None):
        return run("-c", self.main, *arguments, env=WITH_TOKEN if env is None else env)

    def effective(self, *arguments, env=None):
        """What --print-config says: {section: {key: value}}, and {section.key: where from}."""
        result = self.run("--print-config", *arguments, env=env)
        assert result.returncode == 0, result.stderr
        return parse(result.stdout)

    def complaints(self, *arguments, env=None, code=EX_CONFIG):
        result = self.run("--check-config", *arguments, env=env)
        assert result.returncode == code, result.stderr
        return result.stderr.splitlines()


def parse(text):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    sources = {}
    comment = section = None
    for line in text.splitlines():
        if line.startswith("["):
            section = line[1:-1]
        elif line.startswith("# "):
            comment = line[2:]
        elif " =" in line:
            sources[f"{section}.{line.split(' =')[0]}"] = comment
    return {name: dict(parser[name]) for name in parser.sections()}, sources


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


# Sources and their order


def test_precedence(files):
    """Files, drop-ins by name, the environment, options: the later wins."""
    files.write("[streams]\nkeepalive = 11\nmax_age = 100\nretry_min = 11\nspread = 11\nshards = 3\n")
    files.drop_in("20-b.conf", "[streams]\nmax_age = 102\nretry_min = 12\nspread = 12\n")
    files.drop_in("10-a.conf", "[streams]\nmax_age = 101\nspread = 15\n")
    files.drop_in("30-c.conf.bak", "[streams]\nnonsense = 1\n")
    files.drop_in(".hidden.conf", "[streams]\nnonsense = 1\n")
    env = {**WITH_TOKEN, "FLAGSSE_RETRY_MIN": "13", "FLAGSSE_SPREAD": "13"}
    settings, sources = files.effective("-o", "streams.spread=14", env=env)
    streams = settings["streams"]
    values = {key: re.sub(r"\D", "", streams[key])
              for key in ("shards", "keepalive", "max_age", "retry_min", "spread")}
    assert values == {"shards": "3", "keepalive": "11", "max_age": "102", "retry_min": "13", "spread": "14"}
    assert sources["streams.keepalive"] == f"{files.main}:2"
    assert sources["streams.max_age"] == f"{files.directory}/conf.d/20-b.conf:2"
    assert sources["streams.retry_min"] == "environment FLAGSSE_RETRY_MIN"
    assert sources["streams.spread"] == "option"
    assert sources["streams.retry_max"] == "default"


def test_defaults(files):
    settings, sources = files.effective()
    assert settings["http"]["listen"] == ":8088"
    assert settings["nats"]["url"] == "nats://127.0.0.1:4222"
    assert settings["bus"]["type"] == "nats"
    assert settings["service"]["state_dir"] == "/var/lib/flagsse"
    assert settings["streams"]["keepalive"] == "15 s"
    assert settings["streams"]["max_age"] == "900 s"
    assert settings["streams"]["retry_min"] == "1000 ms" and settings["streams"]["retry_max"] == "5000 ms"
    assert settings["profile flutter"]["user_agent"] == "Dart/"
    assert settings["profile flutter"]["max_age"] == "37 s"
    assert settings["profile ruby"]["user_agent"] == "Faraday"
    assert settings["profile ruby"]["close_after_update"] == "yes"
    assert {source for name, source in sources.items() if name.startswith("streams.")} == {"default"}


def test_flagsmith_sses_variables(files):
    """Those of flagsmith/sse work unchanged."""
    settings, sources = files.effective(env={
        "NATS_URL": "nats://a:4222,nats://b:4222", "LISTEN_ADDR": ":9000",
        "SSE_AUTHENTICATION_TOKEN": "abc"})
    assert settings["nats"]["url"] == "nats://a:4222,nats://b:4222"
    assert settings["http"]["listen"] == ":9000"
    assert sources["http.listen"] == "environment LISTEN_ADDR"


def test_empty_variable_is_none(files):
    """As docker-compose and Helm charts leave them."""
    settings, _ = files.effective(env={**WITH_TOKEN, "NATS_URL": "", "FLAGSSE_KEEPALIVE": ""})
    assert settings["nats"]["url"] == "nats://127.0.0.1:4222"


def test_standalone(files):
    assert files.effective("--standalone")[0]["bus"]["type"] == "local"
    assert files.effective("-o", "bus.type=local")[0]["bus"]["type"] == "local"


def test_no_default_file_is_no_error():
    if os.path.exists("/etc/flagsse/flagsse.conf"):
        pytest.fail("/etc/flagsse/flagsse.conf is there, so this cannot be tested on this machine")
    result = run("--check-config", env=WITH_TOKEN)
    assert (result.returncode, result.stderr) == (0, "")


def test_given_file_must_exist(tmp_path):
    result = run("-c", tmp_path / "absent.conf", "--check-config", env=WITH_TOKEN)
    assert result.returncode == EX_CONFIG
    assert "absent.conf" in result.stderr and "No such file" in result.stderr


def test_print_config_can_be_read_back(files, tmp_path):
    files.write("[streams]\nkeepalive = 20s\nmax_age = 1 h\nretry_min = 1500 ms\n[http]\nlisten = [::1]:81, unix:/x\n"
                "max_header_size = 8K\n[profile tv]\nuser_agent = TV/\n")
    first = files.run("--print-config")
    (tmp_path / "again").mkdir()
    again = Files(tmp_path / "again")
    again.write("\n".join(line for line in first.stdout.splitlines() if not line.startswith("token =")))
    second, _ = again.effective()
    assert second == parse(first.stdout)[0]


def test_print_config_masks_secrets(files):
    files.write(f"[http]\ntoken = {TOKEN}\n[nats]\nurl = nats://flag:p4ssw0rd@a:1,tls://t0ken@b\n")
    result = files.run("--print-config", env={})
    assert result.returncode == 0
    text = result.stdout + result.stderr
    assert TOKEN not in text and "p4ssw0rd" not in text and "t0ken" not in text and "flag:" not in text
    settings, _ = parse(result.stdout)
    assert settings["http"]["token"] == "***"
    assert settings["nats"]["url"].endswith("@b") and "@a:1" in settings["nats"]["url"]


def test_print_config_does_not_depend_on_the_host(tmp_path, token_file):
    """In which order files were made, where the credential lies, what the locale is: a difference that diff(1)
    shows is one of the configuration."""
    texts = {"10-a.conf": "[profile b]\nuser_agent = B/\n[profile a]\nuser_agent = A/\n",
             "20-Z.conf": "[streams]\nspread = 1 s\n", "20-ae.conf": "[streams]\nspread = 2 s\n",
             "20-\u00e4.conf": "[streams]\nspread = 3 s\n"}
    printed = []
    for host, names, locale in (("one", list(texts), "C"), ("two", list(reversed(texts)), "de_DE.UTF-8")):
        (tmp_path / host / "credentials").mkdir(parents=True)
        (tmp_path / host / "credentials" / "token").write_text(token_file.read_text())
        (tmp_path / host / "etc").mkdir()
        files = Files(tmp_path / host / "etc")
        for name in names:
            files.drop_in(name, texts[name])
        env = {"CREDENTIALS_DIRECTORY": str(tmp_path / host / "credentials"), "NATS_URL": "nats://u:hidden@h:1",
               "LC_ALL": locale, "HOSTNAME": host}
        result = run("-c", "flagsse.conf", "--print-config", env=env, cwd=files.directory)
        assert result.returncode == 0, result.stderr
        printed.append(result.stdout)
    assert printed[0] == printed[1]
    assert "hidden" not in printed[0] and "# credential token\ntoken =\n" in printed[0]
    assert "# conf.d/20-\u00e4.conf:2\nspread = 3000 ms\n" in printed[0]


# One file, before it is in its place


def test_check_file_alone(tmp_path):
    """As configuration management does: a copy somewhere, without the rest, and with the mode of a copy."""
    file = tmp_path / "tmp1234"
    file.write_text("[streams]\nmax_age = 1 h\n[nats]\nurl = nats://u:p4ss@h\n[profile tv]\nmax_age = 1 min\n")
    file.chmod(0o644)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "other.conf").write_text("rubbish\n")
    result = run("--check-file", file, env={"LISTEN_ADDR": "rubbish"})
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    # The whole is another matter.
    assert run("--check-config", "-c", file).returncode == EX_CONFIG


def test_check_file_names_every_mistake(tmp_path):
    file = tmp_path / "site.conf"
    file.write_text("[streams]\nmax_age = never\n[htp]\n[http]\nlisten = nowhere\ntoken = two words\n")
    result = run("--check-file", file)
    assert result.returncode == EX_CONFIG
    lines = result.stderr.splitlines()
    assert [line.split(":")[2] for line in lines] == ["2", "3", "5", "6"], lines
    assert all(line.startswith(f"error: {file}:") for line in lines)
    assert "two words" not in result.stderr


def test_check_file_that_cannot_be_read(tmp_path):
    result = run("--check-file", tmp_path / "absent.conf")
    assert result.returncode == EX_CONFIG and "absent.conf: cannot be read: No such file" in result.stderr


def test_check_file_from_a_pipe():
    result = subprocess.run([program(), "--check-file", "/dev/stdin"], input="[streams]\nmax_age = never\n",
                            capture_output=True, text=True, env=clean_environment(), timeout=20, check=False)
    assert result.returncode == EX_CONFIG and "/dev/stdin:2: streams.max_age" in result.stderr


@pytest.mark.parametrize("others", [("-c", "/dev/null"), ("--standalone",), ("-o", "streams.spread=1"),
                                    ("--process", "1")])
def test_check_file_goes_alone(others):
    assert run("--check-file", "/dev/null", *others).returncode == EX_USAGE


# What is wrong, and where

WRONG_LINES = [
    ("[streams]\nkeepalive = 0\n", 2, "streams.keepalive", ["1 s", "3600 s"]),
    ("[streams]\n\n# comment\nkeepalive = 3601\n", 4, "streams.keepalive", ["3600"]),
    ("[streams]\nkeepalive = soon\n", 2, "streams.keepalive", ["soon"]),
    ("[streams]\nkeepalive = -1\n", 2, "streams.keepalive", ["-1"]),
    ("[streams]\nkeepalive = 10 parsecs\n", 2, "streams.keepalive", ["min", "ms"]),
    ("[streams]\nkeepalive =\n", 2, "streams.keepalive", []),
    ("[streams]\nkeepalive = 99999999999999999999999\n", 2, "streams.keepalive", []),
    ("[streams]\nmax_streams = 1.5\n", 2, "streams.max_streams", ["1.5"]),
    ("[streams]\nretry_min = 2 s\nretry_max = 1 s\n", 3, "streams.retry_max", ["retry_min"]),
    ("[bus]\ntype = kafka\n", 2, "bus.type", ["kafka", "nats", "local"]),
    ("[http]\nlisten = 8088\n", 2, "http.listen", ["8088", ":PORT"]),
    ("[http]\nlisten = :8088,,:8089\n", 2, "http.listen", []),
    ("[http]\nlisten = :99999\n", 2, "http.listen", ["99999"]),
    ("[http]\nmax_header_size = 1\n", 2, "http.max_header_size", ["1024", "65536"]),
    ("[nats]\nurl = http://a\n", 2, "nats.url", ["nats://", "tls://"]),
    ("[nats]\nurl = nats://a:0\n", 2, "nats.url", []),
    ("[streams]\nkeep_alive = 5\n", 2, "streams.keep_alive", []),
    ("[stream]\nkeepalive = 5\n", 1, "stream", []),
    ("[service]\nstate_dir = relative\n", 2, "service.state_dir", []),
    ("[streams\nkeepalive = 5\n", 1, "", ["]"]),
    ("keepalive = 5\n", 1, "keepalive", ["section"]),
    ("[streams]\nkeepalive\n", 2, "", []),
    ("[streams]\nkeepalive = " + "1" * 300 + "\n", 2, "streams.keepalive", ["too long"]),
    ("[streams]\n" + "k" * 60 + " = 1\n", 2, "", ["too long"]),
    ("[http]\nlisten = :1\0\n", 2, "", []),
    ("[profile new]\nmax_age = 5\n", 1, "profile new.user_agent", []),
    ("[profile new]\nuser_agent = X\nmax_age = x\n", 3, "profile new.max_age", []),
    ("[profile new]\nuser_agent = X\nclose_after_update = maybe\n", 3, "profile new.close_after_update", []),
]


@pytest.mark.parametrize("text, line, name, words", WRONG_LINES)
def test_wrong_line(files, text, line, name, words):
    """FILE:LINE: section.key: what is wrong, what is allowed"""
    complaints = files.write(text).complaints()
    wanted = [c for c in complaints if f"{files.main}:{line}: {name}" in c]
    assert wanted, complaints
    for word in words:
        assert word in wanted[0], wanted
    assert all(c.startswith("error: ") for c in complaints), complaints


def test_every_error_is_told(files):
    """Not just the first, and from all sources."""
    files.write("[streams]\nkeepalive = x\nmax_age = y\nunknown = z\n[nowhere]\n")
    files.drop_in("a.conf", "[bus]\ntype = q\n")
    env = {"FLAGSSE_SPREAD": "w", "NATS_URL": "ftp://x"}
    complaints = files.complaints("-o", "http.listen=nonsense", "-o", "no.such=1", "-o", "bad", env=env)
    text = "\n".join(complaints)
    for wanted in (f"{files.main}:2: streams.keepalive", f"{files.main}:3: streams.max_age",
                   f"{files.main}:4: streams.unknown", f"{files.main}:5: nowhere",
                   f"{files.directory}/conf.d/a.conf:2: bus.type",
                   "environment FLAGSSE_SPREAD: streams.spread", "environment NATS_URL: nats.url",
                   "option http.listen", "option no", "option -o", "SSE_AUTHENTICATION_TOKEN"):
        assert wanted in text, f"{wanted} is not in\n{text}"
    assert len(complaints) >= 11, text


def test_no_start_with_a_wrong_configuration(files):
    result = files.write("[streams]\nkeepalive = x\n").run()
    assert result.returncode == EX_CONFIG
    assert f"{files.main}:2: streams.keepalive" in result.stderr


def test_right_configuration(files):
    result = files.write("# all is well\n[streams]\nkeepalive = 20 s ; as the proxy has 30\n").run("--check-config")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("text", [
    "[streams]\r\nkeepalive = 20\r\n", "\ufeff[streams]\nkeepalive = 20\n", "[streams]\nkeepalive=20",
    "  [streams]\n\tkeepalive  =  20  \n", "[streams]\nkeepalive: 20\n"])
def test_harmless_spellings(files, text):
    assert files.write(text).effective()[0]["streams"]["keepalive"].startswith("20")


@pytest.mark.parametrize("secret", ["nats://flag:p4ssw0rd@:1", "http://flag:p4ssw0rd@a", "nats://p4ssw0rd@a:x"])
def test_complaints_hold_no_secrets(files, secret):
    for result in (files.write(f"[nats]\nurl = {secret}\n").run("--check-config"),
                   files.write("").run("--check-config", env={**WITH_TOKEN, "NATS_URL": secret}),
                   files.run("--check-config", "-o", f"nats.url={secret}"),
                   files.write(f"[nats]\n{secret}\n").run("--check-config"),
                   files.write(f"[http]\nlisten = {secret}\n").run("--check-config")):
        assert result.returncode == EX_CONFIG
        assert "p4ssw0rd" not in result.stdout + result.stderr


# The token


def test_no_token(files):
    """All ways to set it are named."""
    text = "\n".join(files.complaints(env={}))
    for way in ("SSE_AUTHENTICATION_TOKEN", "http.token", "token_file", "LoadCredential"):
        assert way in text


@pytest.mark.parametrize("token", ["with space", "tab\there", "ümlaut", "x" * 1025, "new\nline"])
def test_unusable_token(files, token):
    complaints = files.complaints(env={"SSE_AUTHENTICATION_TOKEN": token})
    assert "http.token" in "\n".join(complaints)
    assert token not in "\n".join(complaints)


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("from-the-file\n")
    path.chmod(0o640)
    return path


def accepts(daemon, token):
    body = b'{"updated_at": 1673546928}'
    return daemon.post("k", body, (authorization(token),)).status == 200


@pytest.mark.parametrize("how", ["option", "variable", "credentials"])
def test_token_from_a_file(start, token_file, how):
    settings = {"option": {"options": [f"http.token_file={token_file}"]},
                "variable": {"env": {"FLAGSSE_TOKEN_FILE": str(token_file)}},
                "credentials": {"env": {"CREDENTIALS_DIRECTORY": str(token_file.parent)}}}[how]
    daemon = start.daemon(token=None, **settings)
    assert accepts(daemon, "from-the-file")
    assert not daemon.log_lines("^warning: .*token")
    assert not accepts(daemon, "from-the-file\n".strip() + "x")


def test_token_itself_wins_over_files(start, token_file):
    daemon = start.daemon(token="itself", options=[f"http.token_file={token_file}"],
                          env={"CREDENTIALS_DIRECTORY": str(token_file.parent)})
    assert accepts(daemon, "itself") and not accepts(daemon, "from-the-file")


def test_world_readable_token_file(files, token_file):
    token_file.chmod(0o644)
    result = files.run("--check-config", "-o", f"http.token_file={token_file}", env={})
    assert result.returncode == 0
    assert result.stderr.startswith("warning: ") and str(token_file) in result.stderr
    assert "chmod" in result.stderr


def test_world_readable_file_with_secret(files):
    files.write(f"[http]\ntoken = {TOKEN}\n")
    files.main.chmod(0o644)
    result = files.run("--check-config", env={})
    assert result.returncode == 0 and "warning: " in result.stderr and "chmod" in result.stderr
    files.main.chmod(0o640)
    assert files.run("--check-config", env={}).stderr == ""


@pytest.mark.parametrize("content", ["", "\n", "two words\n", "two\nlines\n", "nul\0\n"])
def test_unusable_token_file(files, token_file, content):
    token_file.write_text(content)
    text = "\n".join(files.complaints("-o", f"http.token_file={token_file}", env={}))
    assert str(token_file) in text


def test_absent_token_file(files):
    text = "\n".join(files.complaints("-o", "http.token_file=/nonexistent/token", env={}))
    assert "/nonexistent/token" in text and "No such file" in text


# The state directory


def test_state_directory_of_systemd_wins(start, tmp_path, key):
    directory = tmp_path / "systemd-state"
    directory.mkdir()
    daemon = start.daemon(env={"STATE_DIRECTORY": f"{directory}:/other"})
    daemon.publish(key)
    assert list(directory.glob("*.db"))
    assert not list((daemon.directory / "state").iterdir())


def test_state_directory_is_made(start, tmp_path, key):
    directory = tmp_path / "not-yet" / "there"
    directory.parent.mkdir()
    daemon = start.daemon(options=[f"service.state_dir={directory}"])
    daemon.publish(key)
    assert list(directory.glob("*.db"))


def test_unusable_state_directory(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("--standalone", "-o", f"service.state_dir={tmp_path}/file", "-o", "http.listen=unix:" + str(
        tmp_path / "s"), env=WITH_TOKEN)
    assert result.returncode == 1
    assert f"{tmp_path}/file" in result.stderr


def test_state_directory_in_use(start):
    """Two processes would overwrite each other."""
    daemon = start.daemon()
    result = run("--standalone", "-o", f"service.state_dir={daemon.directory}/state", "-o",
                 f"http.listen=unix:{daemon.directory}/s", env=WITH_TOKEN)
    assert result.returncode == 1
    assert f"{daemon.directory}/state" in result.stderr
    assert daemon.get("/readyz").status == 200


# Options that print


def test_version():
    result = run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    first, *others = result.stdout.splitlines()
    assert re.fullmatch(r"flagsse \d+\.\d+\.\d+(\+git[.\w]+)?", first)
    libraries = {line.split()[0].lower(): line.split()[1] for line in others}
    assert {"libmicrohttpd", "nats.c", "sqlite", "json-c"} <= set(libraries)
    assert all(re.match(r"\d+\.\d+", version) for version in libraries.values()), libraries


def test_help():
    """From the table: each setting with its variable."""
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    for text in ("-c FILE", "-o SECTION.KEY=VALUE", "--standalone", "--check-config", "--print-config", "--version",
                 "--help", "http.listen", "LISTEN_ADDR", "nats.url", "NATS_URL", "SSE_AUTHENTICATION_TOKEN",
                 "streams.max_age"):
        assert text in result.stdout, text
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_sample(files):
    """Complete, and without effect as it stands."""
    result = run("--print-sample-config")
    assert result.returncode == 0
    before = files.effective()
    files.write(result.stdout)
    after = files.effective()
    assert before[0] == after[0]
    uncommented = re.sub(r"(?m)^#(?=\w+ =|\[)", "", result.stdout)
    settings, _ = parse(uncommented)
    assert {f"{s}.{k}" for s, keys in before[0].items() for k in keys} == {
        f"{s}.{k}" for s, keys in settings.items() for k in keys}


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-x"], ["-c"], ["--check-file"], ["argument"], ["-o"]])
def test_wrong_usage(arguments):
    result = run(*arguments)
    assert result.returncode == EX_USAGE
    assert "--help" in result.stderr


@pytest.mark.parametrize("option", ["--help", "--print-config"])
def test_unwritable_output(option):
    with open("/dev/full", "w") as full:
        result = subprocess.run([program(), option], stdout=full, stderr=subprocess.PIPE,
                                env=clean_environment(**WITH_TOKEN), timeout=20, check=False)
    assert result.returncode == 1 and result.stderr


# What takes effect


def test_settings_take_effect_from_a_file(start, key):
    daemon = start.daemon(config="[streams]\nretry_min = 1234 ms\nretry_max = 1234 ms\n")
    with daemon.stream(key) as stream:
        assert stream.retry == 1234


def test_log_level(start, key):
    quiet = start.daemon(env={"FLAGSSE_LOG_LEVEL": "warning"})
    quiet.publish(key)
    quiet.stop()
    assert quiet.log() == ""
    loud = start.daemon(env={"FLAGSSE_LOG_LEVEL": "debug"})
    loud.publish(key)
    wait_until(lambda: loud.log_lines("^debug: "), "nothing at the debug level")
    assert TOKEN not in loud.log()
