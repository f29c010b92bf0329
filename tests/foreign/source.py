#!/usr/bin/env python3
"""A memcache client of a few lines, and its observation stream: docs/observation-stream.md in another language.

It has a timeout and a pool, no breaker and no failover. Standard library only.

    source.py --servers a=127.0.0.1:21211,b=127.0.0.1:21212 --rate 300
"""

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter

TICK = 0.1
KEYS = 300
LATE = 0.010


def now_us():
    return time.monotonic_ns() // 1000


class Server:
    """Connections to one server, and what happened there since the last tick."""

    def __init__(self, name, addr, timeout, pool_max):
        self.name, self.addr, self.timeout = name, addr, timeout
        self.host, _, port = addr.rpartition(":")
        self.port = int(port)
        self.free = []
        self.slots = asyncio.Semaphore(pool_max)
        self.clear()

    def clear(self):
        self.counts, self.latency, self.service = Counter(), Counter(), Counter()

    async def op(self, intended, key, write):
        began = time.monotonic()
        try:
            outcome = await asyncio.wait_for(self.attempt(key, write), self.timeout)
        except asyncio.TimeoutError:
            outcome = "timeout"
        except ConnectionRefusedError:
            outcome = "connect"
        except (OSError, EOFError):
            outcome = "reset"
        ended = time.monotonic()
        self.counts[outcome] += 1
        self.latency[bucket(ended - intended)] += 1
        self.service[bucket(ended - began)] += 1

    async def attempt(self, key, write):
        async with self.slots:
            reader, writer = self.free.pop() if self.free else await asyncio.open_connection(self.host, self.port)
            whole = False
            try:
                value = f"value of {key}".encode()
                if write:
                    writer.write(b"set %s 0 300 %d\r\n%s\r\n" % (key.encode(), len(value), value))
                    line = await reader.readuntil(b"\n")
                    outcome = "stored" if line == b"STORED\r\n" else "server_error"
                else:
                    writer.write(b"get %s\r\n" % key.encode())
                    outcome = await self.read(reader, key, value)
                whole = True
                return outcome
            finally:
                # A connection whose reply is not whole would give it to the next op.
                if whole and outcome in ("stored", "hit", "miss"):
                    self.free.append((reader, writer))
                else:
                    writer.close()

    @staticmethod
    async def read(reader, key, value):
        line = await reader.readuntil(b"\n")
        if line == b"END\r\n":
            return "miss"
        if not line.startswith(b"VALUE "):
            return "protocol"
        _, name, _, length = line.split()
        got = await reader.readexactly(int(length) + 2)
        end = await reader.readuntil(b"\n")
        if end != b"END\r\n":
            return "protocol"
        return "hit" if name == key.encode() and got == value + b"\r\n" else "wrong_value"

    def tick(self):
        """What happened since the last one; without failover ops and attempts are the same."""
        counts = dict(self.counts)
        told = {
            "server": self.name,
            "ops": counts,
            "attempts": counts,
            "latency": sorted(self.latency.items()),
            "service": sorted(self.service.items()),
        }
        self.clear()
        return told


def bucket(seconds):
    """Two significant digits, in microseconds."""
    us = max(int(seconds * 1e6), 1)
    digits = 10 ** max(len(str(us)) - 2, 0)
    return us // digits * digits


class Source:
    def __init__(self, args):
        self.args = args
        servers = (pair.split("=") for pair in args.servers.split(","))
        self.servers = [Server(name, addr, args.timeout_ms / 1e3, args.pool_max) for name, addr in servers]
        self.offered = self.late = 0
        self.readers = set()
        self.running = set()
        self.instance = f"{os.getpid()}-{time.time_ns()}"

    def hello(self):
        return {
            "type": "hello",
            "v": 1,
            "client": {"name": "foreign.py", "version": "1"},
            "instance": self.instance,
            "at_us": now_us(),
            "servers": [{"name": server.name, "addr": server.addr} for server in self.servers],
            "settings": {
                "op_timeout_ms": self.args.timeout_ms,
                "pool_max": self.args.pool_max,
                "load": {
                    "kind": "open",
                    "arrivals": "constant",
                    "rate_ops_per_s": self.args.rate,
                    "concurrency": self.args.pool_max * len(self.servers),
                },
            },
        }

    async def load(self):
        """An open loop: ops begin when the schedule says so, whatever became of those before."""
        dice, intended = random.Random(1), time.monotonic()
        while True:
            await asyncio.sleep(max(intended - time.monotonic(), 0))
            self.offered += 1
            self.late += time.monotonic() - intended > LATE
            number = dice.randrange(KEYS)
            server = self.servers[number % len(self.servers)]
            task = asyncio.create_task(server.op(intended, f"foreign:{number}", dice.random() < 0.2))
            self.running.add(task)
            task.add_done_callback(self.running.discard)
            intended += 1 / self.args.rate

    async def ticks(self):
        last = now_us()
        while True:
            await asyncio.sleep(TICK - time.monotonic() % TICK)
            at_us = now_us()
            tick = {
                "type": "tick",
                "at_us": at_us,
                "period_us": at_us - last,
                "offered": self.offered,
                "started": self.offered,
                "late": self.late,
                "servers": [server.tick() for server in self.servers],
            }
            last, self.offered, self.late = at_us, 0, 0
            for reader in self.readers:
                # A reader that does not read is not waited for: it sees the hole.
                if not reader.full():
                    reader.put_nowait(tick)

    async def serve(self, reader, writer):
        queue = asyncio.Queue(1000)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            if not request.startswith(b"GET /v1/observations "):
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n")
            self.readers.add(queue)
            record = self.hello()
            while True:
                writer.write(json.dumps(record).encode() + b"\n")
                await writer.drain()
                record = await queue.get()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.readers.discard(queue)
            writer.close()

    async def run(self):
        http = await asyncio.start_server(self.serve, "127.0.0.1", self.args.port)
        port = http.sockets[0].getsockname()[1]
        print(f"http://127.0.0.1:{port}", flush=True)
        await asyncio.gather(self.load(), self.ticks(), http.serve_forever())


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--servers", required=True, help="NAME=HOST:PORT,...")
    flags.add_argument("--rate", type=float, default=300.0, help="ops/s")
    flags.add_argument("--timeout-ms", type=int, default=250, help="of one op")
    flags.add_argument("--pool-max", type=int, default=64, help="connections per server")
    flags.add_argument("--port", type=int, default=0, help="of the stream; 0: any, printed")
    asyncio.run(Source(flags.parse_args()).run())


if __name__ == "__main__":
    main()
