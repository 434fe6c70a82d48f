# SPDX-License-Identifier: BSD-3-Clause
"""A system bus with nothing on it but a systemd that tells what job our unit has: late, wrongly, or not at all."""
import itertools
import socket
import struct
import threading
import time

METHOD_RETURN, ERROR = 2, 3
ERROR_NAME, REPLY_SERIAL, SIGNATURE = 4, 5, 8  # fields of a message's header
MEMBER = 3
JOB_PATH = "/org/freedesktop/systemd1/job/1"


def pad(data, alignment):
    return data + bytes(-len(data) % alignment)


def string(text):
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def signature(text):
    return bytes([len(text)]) + text.encode() + b"\0"


VALUES = {"s": lambda value: pad(b"\1s\0", 4) + string(value),
          "u": lambda value: pad(b"\1u\0", 4) + struct.pack("<I", value),
          "(uo)": lambda value: pad(signature("(uo)"), 8) + struct.pack("<I", value[0]) + string(value[1])}


def make_message(kind, serial, fields, body=b""):
    """Fields are (number, signature, the value's bytes)."""
    array = b""
    for number, kind_of_value, value in fields:
        array = pad(array, 8) + bytes([number]) + signature(kind_of_value)  # four bytes, as it is one letter
        array += value
    head = struct.pack("<cBBBII", b"l", kind, 0, 1, len(body), serial) + struct.pack("<I", len(array))
    return pad(head + array, 8) + body


class Reader:
    """What a message's header says, as far as we need it: its serial, its member, its body's strings."""

    def __init__(self, file):
        head = file.read(16)
        if len(head) < 16:
            raise EOFError
        body_size, self.serial, fields_size = struct.unpack("<III", head[4:])
        fields = file.read(fields_size + -fields_size % 8)
        self.body = file.read(body_size)
        self.member = self._field(fields, fields_size, MEMBER)

    @staticmethod
    def _field(fields, size, wanted):
        at = 0
        while at < size:
            at += -at % 8
            number, kind = fields[at], chr(fields[at + 2])
            at += 4
            if kind == "g":
                at += fields[at] + 2
            elif kind == "u":
                at += 4 + -at % 4
            else:
                at += -at % 4
                length, = struct.unpack_from("<I", fields, at)
                if number == wanted:
                    return fields[at + 4:at + 4 + length].decode()
                at += 4 + length + 1
        return None

    def strings(self):
        at, found = 0, []
        while at < len(self.body):
            at += -at % 4
            length, = struct.unpack_from("<I", self.body, at)
            found.append(self.body[at + 4:at + 4 + length].decode())
            at += 4 + length + 1
        return found


class Systemd:
    """`script` says for each connection in turn how calls on it are answered: after so many seconds; by an
    "error"; by a "close"; None: not at all.  Its last word counts for all that follow."""

    def __init__(self, directory, script, job="restart"):
        self.script = script
        self.properties = {"FileDescriptorStoreMax": ("u", 4096), "JobType": ("s", job),
                           "Job": ("(uo)", (1, JOB_PATH) if job else (0, "/"))}
        self.path = str(directory / "bus")
        self.n_asked = 0
        self.sockets = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def env(self):
        return {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.path}"}

    def close(self):
        for sock in [self.listener, *self.sockets]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self):
        try:
            for n in itertools.count():
                sock, _ = self.listener.accept()
                self.sockets.append(sock)
                how = self.script[min(n, len(self.script) - 1)]
                threading.Thread(target=self._serve, args=(sock, how), daemon=True).start()
        except OSError:
            pass  # the end

    def _serve(self, sock, how):
        try:
            file = sock.makefile("rb")
            self._authenticate(sock, file)
            while True:
                self._answer(sock, Reader(file), how)
        except (OSError, EOFError):
            pass

    @staticmethod
    def _authenticate(sock, file):
        file.read(1)  # NUL
        while (line := file.readline().strip()) != b"BEGIN":
            if line == b"AUTH EXTERNAL":
                sock.sendall(b"DATA\r\n")
            elif line == b"DATA" or line.startswith(b"AUTH EXTERNAL "):
                sock.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
            elif line == b"NEGOTIATE_UNIX_FD":
                sock.sendall(b"AGREE_UNIX_FD\r\n")
            else:
                raise EOFError

    def _answer(self, sock, call, how):
        serial = (REPLY_SERIAL, "u", struct.pack("<I", call.serial))
        if call.member == "Hello":
            sock.sendall(make_message(METHOD_RETURN, call.serial, [serial, (SIGNATURE, "g", signature("s"))],
                                      string(":1.1")))
            return
        self.n_asked += 1
        if how is None:
            return
        if how == "close":
            sock.shutdown(socket.SHUT_RDWR)
        elif how == "error":
            name = string("org.freedesktop.DBus.Error.NoReply")
            sock.sendall(make_message(ERROR, call.serial, [serial, (ERROR_NAME, "s", name)]))
        else:
            time.sleep(how)
            kind, value = self.properties[call.strings()[1]]
            sock.sendall(make_message(METHOD_RETURN, call.serial, [serial, (SIGNATURE, "g", signature("v"))],
                                      VALUES[kind](value)))
