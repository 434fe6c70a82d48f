# SPDX-License-Identifier: BSD-3-Clause
"""A stream by way of a reverse proxy."""
from sse import Stream
from wire import TIMEOUT, parse_head


class ProxiedStream(Stream):
    """What a proxy may change is its own: fields of the head, and where chunks begin, but not within an event."""

    def check_head(self, head):
        response = parse_head(head)
        assert response.version == "HTTP/1.1", response
        for name, value in (
                ("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache, no-transform"),
                ("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", "Retry-After"),
                ("Transfer-Encoding", "chunked"), ("Content-Encoding", None), ("Content-Length", None),
                ("Set-Cookie", None)):
            assert response.header(name) == value, response

    def split_chunk(self, chunk):
        """The iOS SDK parses each piece alone."""
        *blocks, rest = chunk.split(b"\n\n")
        assert not rest, f"a block was cut: {chunk!r}"
        return [block + b"\n\n" for block in blocks]

    def receive(self, timeout=TIMEOUT):
        """The connection may go on after the last chunk."""
        self.ended = self.ended or self.parser.finished
        return super().receive(timeout)
