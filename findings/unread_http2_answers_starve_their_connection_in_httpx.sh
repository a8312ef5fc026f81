#!/usr/bin/env bash
# Answers that httpx closes unread over HTTP/2 use up the connection: an innocent request then hangs.
#
# What a good engineer expects: `async with client.stream(…)` that is left early ends that answer
# alone. On HTTP/1.1 httpx closes the connection; on HTTP/2 a client resets the stream
# (RST_STREAM), which RFC 9113 made for this, and other requests on the connection go on.
#
# What happens: httpcore closes the stream for itself only. The server is told nothing and sends the
# whole answer, and what arrives for the closed stream is dropped without giving its bytes back to
# the connection's flow-control window. That window is 16 MiB. When it is used up, the server may
# send no more body to anybody on this connection: headers still arrive (they are not counted), and
# the next answer, of two bytes, waits until the read time-out; without one, forever.
#
# Whom it hurts: those who look at the status or the first lines of large answers with `http2=True`
# and leave them, by `break`, by `raise_for_status()` in the block or by a deadline. The error comes
# minutes later, in a request that has nothing to do with it, and the server looks guilty. After the
# time-out the connection is replaced, so that it all works again for a while.
#
# What helps: read such answers to the end, or use a client of HTTP/1.1 for them (httpx's default).
# The successor httpx2 has inherited the behaviour.
#
# Seen with: httpx 0.28.1, httpcore 1.0.9, h2 4.4.1; httpx2 2.16.2; the server is Hypercorn 0.18.0
# (nginx 1.22.1 shows the same). Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
  'httpx[http2]==0.28.1' httpcore==1.0.9 h2==4.4.1 'httpx2[http2]==2.16.2' hypercorn==0.18.0 sniffio==1.3.1

cat > "$folder/server.py" <<'PYTHON'
async def app(scope, receive, send):
    """Answer /large with 3 MB, anything else with two bytes."""
    if scope["type"] == "http":
        body = b"x" * 3_000_000 if scope["path"] == "/large" else b"{}"
        length = str(len(body)).encode()
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
PYTHON

cat > "$folder/client.py" <<'PYTHON'
import asyncio
import importlib
import sys

url, library, protocol, manner = sys.argv[1:]
httpx = importlib.import_module(library)


async def main():
    http2 = protocol == "HTTP/2"
    async with httpx.AsyncClient(http1=not http2, http2=http2, trust_env=False, timeout=5) as client:
        for _ in range(16):  # 48 MB in all; the window is 16 MiB
            async with client.stream("GET", f"{url}/large") as response:
                assert response.http_version.startswith(protocol), response.http_version
                if manner == "read":
                    await response.aread()
            await asyncio.sleep(0.2)  # the server sends what nobody reads
        try:
            print("small answer:", (await client.get(f"{url}/small")).text)
        except httpx.ReadTimeout:
            print("small answer: ReadTimeout")
            print("small answer on a new connection:", (await client.get(f"{url}/small")).text)


asyncio.run(main())
PYTHON

port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
(cd "$folder" && exec venv/bin/hypercorn --workers 0 --bind "127.0.0.1:$port" server:app) > "$folder/log" 2>&1 &
server=$!
disown "$server"  # no message when it is killed
for _ in $(seq 50); do grep -q "Running on" "$folder/log" && break; sleep 0.1; done

expect() {
  printf '%-32s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
run() { "$folder/venv/bin/python" "$folder/client.py" "http://127.0.0.1:$port" "$@" | paste -sd ';'; }

hangs="small answer: ReadTimeout;small answer on a new connection: {}"
expect "httpx, HTTP/2, closed unread" "$(run httpx HTTP/2 unread)" "$hangs"
expect "httpx2, HTTP/2, closed unread" "$(run httpx2 HTTP/2 unread)" "$hangs"
expect "httpx, HTTP/2, read" "$(run httpx HTTP/2 read)" "small answer: {}"
expect "httpx, HTTP/1.1, closed unread" "$(run httpx HTTP/1.1 unread)" "small answer: {}"
