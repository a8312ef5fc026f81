#!/usr/bin/env bash
# Look-ups of host names that a deadline has ended go on: they hold up other hosts and asyncio's end.
#
# What a good engineer expects: `anyio.fail_after(0.5)` around a request of httpx ends it, wherever it
# is, connecting included. What follows does not depend on it: another host's request starts, and the
# program can end.
#
# What happens: asyncio looks names up in its default executor, a pool of "cores + 4" threads (32 at
# most), and a thread in getaddrinfo() cannot be cancelled. The deadline ends the waiting alone. As
# many hanging look-ups as the pool has threads, of one host whose DNS server is silent, are enough:
# every other name, "localhost" as well, waits in the pool's queue behind them, and httpx reports
# ConnectTimeout for servers that are healthy. And asyncio.run() joins the threads before it returns
# (up to 5 minutes since Python 3.12, without limit before), so that a program that gave up after
# half a second ends when the resolver does, 10 to 30 s later by default. Python's documentation says
# that look-ups share the pool with other work, not that those which were cancelled stay in it.
#
# Whom it hurts: clients of several hosts with retries, health checks with short deadlines, and
# command-line tools that are to end by a deadline or at Ctrl-C.
#
# What helps: a default executor that starts a daemon thread for each look-up, or trio as the event
# loop, which leaves a cancelled look-up behind in a daemon thread.
#
# Seen with: httpx 0.28.1, httpcore 1.0.9, anyio 4.16.0, trio 0.32.0; Python 3.11. A getaddrinfo() that
# takes 3 s for one name stands in for a silent DNS server.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpcore==1.0.9 anyio==4.16.0 sniffio==1.3.1 trio==0.32.0

cat > "$folder/requests.py" <<'PYTHON'
import asyncio
import http.server
import os
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import anyio
import httpx

true_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    if host in ("silent.example", b"silent.example") and not flags & socket.AI_NUMERICHOST:
        time.sleep(3)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return true_getaddrinfo(host, port, family, type, proto, flags)


class DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a daemon thread, which nobody waits for."""

    def submit(self, function, *arguments):
        future = Future()

        def call():
            try:
                future.set_result(function(*arguments))
            except Exception as error:
                future.set_exception(error)

        future.set_running_or_notify_cancel()
        threading.Thread(target=call, daemon=True).start()
        return future


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


async def main(port):
    if sys.argv[1] == "daemon threads":
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
    global start
    async with httpx.AsyncClient(trust_env=False, timeout=1, verify=False) as client:

        async def give_up():
            with anyio.move_on_after(0.5):
                await client.get("http://silent.example/")

        start = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(min(32, (os.cpu_count() or 1) + 4)):
                group.start_soon(give_up)
        given_up = "after 0.5 s" if time.monotonic() - start < 1.5 else "late"
        try:
            answer = (await client.get(f"http://localhost:{port}/")).status_code
        except httpx.ConnectTimeout:
            answer = "ConnectTimeout"
        print(f"given up {given_up}, healthy host: {answer}", end=", ")


socket.getaddrinfo = getaddrinfo
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    anyio.run(main, server.server_port, backend="trio" if sys.argv[1] == "trio" else "asyncio")
    print("loop ended", "with the look-ups" if time.monotonic() - start > 2.5 else "before the look-ups")
    server.shutdown()
PYTHON

expect() {
  printf '%-16s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
check() {
  expect "$1" "$("$folder/venv/bin/python" "$folder/requests.py" "$1" 2>&1 | tail -n 1)" "given up after 0.5 s, $2"
}

check "asyncio" "healthy host: ConnectTimeout, loop ended with the look-ups"
check "daemon threads" "healthy host: 204, loop ended before the look-ups"
check "trio" "healthy host: 204, loop ended before the look-ups"
