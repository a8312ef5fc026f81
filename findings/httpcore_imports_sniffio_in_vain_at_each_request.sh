#!/usr/bin/env bash
# httpcore tries to import sniffio again and again, and httpx no longer brings it.
#
# What a good engineer expects: `pip install httpx` installs all that httpx.AsyncClient needs on
# asyncio, and what it imports is imported once.
#
# What happens: httpcore asks for the name of the event loop at each lock and event that it makes,
# with `import sniffio` in a try block. anyio brought sniffio along up to 4.11; since 4.12 it does
# not depend on it. A failed import is not cached by Python: each attempt goes through all finders
# and folders of sys.path again. A client that sends 50 requests over one connection looks for
# sniffio 205 times, four times a request. The requests succeed, so only a profiler notices.
#
# Whom it hurts: those who send many requests with httpx.AsyncClient on asyncio from an environment
# where a search is costly. In an empty one it hardly shows; in one with editable installs, whose
# finders are asked each time, 500 requests took 0.6 s less CPU time with sniffio.
#
# What helps: install sniffio as well. It is then imported once, and the name of the loop costs
# next to nothing.
#
# Seen with: httpx 0.28.1, httpcore 1.0.9, anyio 4.13.0; sniffio 1.3.1 as the remedy. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx==0.28.1 httpcore==1.0.9 anyio==4.13.0

cat > "$folder/requests.py" <<'PYTHON'
import asyncio
import http.server
import sys
import threading
from importlib.abc import MetaPathFinder

import httpx

REQUESTS = 50
searches = 0


class Counter(MetaPathFinder):
    """Counts the searches for sniffio, and finds nothing."""

    def find_spec(self, name, path, target=None):
        global searches
        searches += name == "sniffio"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


async def main(url):
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(REQUESTS):
            assert (await client.get(url)).json() == {}


sys.meta_path.insert(0, Counter())
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asyncio.run(main(f"http://127.0.0.1:{server.server_port}/"))
    server.shutdown()
print(
    f"{REQUESTS} requests, sniffio searched",
    "once" if searches == 1 else "at least once a request" if searches >= REQUESTS else searches,
)
PYTHON

expect() {
  printf '%-20s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

run() { "$folder/venv/bin/python" "$folder/requests.py"; }

expect "as installed" "$(run)" "50 requests, sniffio searched at least once a request"
"$folder/venv/bin/pip" install --quiet sniffio==1.3.1
expect "with sniffio" "$(run)" "50 requests, sniffio searched once"
