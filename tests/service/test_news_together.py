# SPDX-License-Identifier: BSD-3-Clause
"""One message is for all that wait for an answer of JetStream's; each of them is news on every stream all the same."""
import threading
import time

from daemon import fresh_time_us
from test_outbox import wait_empty
from test_patience import relay


def two_slow_acknowledgements():
    delays = [1.4, 1.4]
    return lambda data: delays.pop() if delays and b'{"stream":"environments-stream", "seq":' in data else 0


def test_row_and_what_came_after_it(start, relay, key):
    """Streams have had the row's, of the outbox, when an older one comes: the message for both is above that."""
    server = start.nats()
    daemon = start.daemon(bus="nats", nats_url=relay(server, two_slow_acknowledgements()).url)
    younger = fresh_time_us()
    answers = []

    def offer(time_us):
        answers.append(daemon.offer(key, time_us)[0].status)

    threads = [threading.Thread(target=offer, args=(younger - i,)) for i in (200, 100, 0, 50)]
    with daemon.stream(key) as stream:
        threads[0].start()
        time.sleep(0.3)
        threads[1].start()  # waits for that answer, and is in the outbox after 1 s
        assert stream.events_until(younger - 100)[-1] == younger - 100
        time.sleep(0.3)
        threads[2].start()  # waits for the next answer, and so does its row
        assert stream.events_until(younger)[-1] == younger
        threads[3].start()  # waits, too
        for thread in threads:
            thread.join()
        assert set(answers) <= {200, 202}
        assert stream.event() > younger
        wait_empty(daemon)
