#!/usr/bin/env bash
# nginx's cache sends no Age and reads none: each cache in a row keeps an answer for max-age anew.
#
# What a good engineer expects: `Cache-Control: max-age=60` means that nobody sees the answer when it
# is older than 60 s, through however many caches. For this a shared cache must send Age with what it
# has stored, and count the Age of what it gets (RFC 9111, 4.2.3 and 5.1).
#
# What happens: nginx answers from its cache with a new Date, without Age, and with max-age as it came.
# A second nginx before it, a CDN or the client's own cache cannot know that the answer is old and
# keeps it for max-age once more: with two nginx an answer is served until it is twice as old as
# allowed. Headers give no hint: Date is the moment of the request.
#
# Whom it hurts: those who read a status or a list through an ingress and a gateway, poll for it to
# change and reckon with max-age; and those who measure the age of data by Date, which is always
# now.
#
# What helps: the origin names the end itself, with Expires (a time, not a duration) and without
# max-age. nginx passes it on unchanged, each cache stops at the same moment, and since Date is new,
# clients count the rest rightly too. The clocks must agree.
#
# Seen with: nginx 1.22.1 as packaged by Debian 12; it needs package lists (`apt-get update`). Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
nginx=
trap '[ -z "$nginx" ] || kill "$nginx" 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get download --quiet --quiet nginx 2> log || { cat log; exit 1; }
dpkg -x nginx_*.deb .

read -r origin inner outer < <(python3 - <<'PYTHON'
import socket

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))
PYTHON
)
cat > nginx.conf <<CONF
daemon off;
master_process off;
pid $folder/pid;
events {}
http {
  access_log off;
  client_body_temp_path $folder/body;
  proxy_temp_path $folder/proxy;
  fastcgi_temp_path $folder/fastcgi;
  uwsgi_temp_path $folder/uwsgi;
  scgi_temp_path $folder/scgi;
  proxy_cache_path $folder/inner keys_zone=inner:1m;
  proxy_cache_path $folder/outer keys_zone=outer:1m;
  server {
    listen 127.0.0.1:$inner;
    location / { proxy_pass http://127.0.0.1:$origin; proxy_cache inner; }
  }
  server {
    listen 127.0.0.1:$outer;
    location / { proxy_pass http://127.0.0.1:$inner; proxy_cache outer; add_header X-Outer \$upstream_cache_status; }
  }
}
CONF
usr/sbin/nginx -p "$folder" -c "$folder/nginx.conf" -e "$folder/error.log" &
nginx=$!

cat > read.py <<'PYTHON'
import http.server
import sys
import threading
import time
from email.utils import formatdate, parsedate_to_datetime
from urllib.request import urlopen

LIFETIME = 4
manner, origin, inner, outer = sys.argv[1], *map(int, sys.argv[2:])


class Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if manner == "max-age":
            self.send_header("Cache-Control", f"max-age={LIFETIME}")
        else:
            self.send_header("Expires", formatdate(time.time() + LIFETIME, usegmt=True))
        self.end_headers()
        self.wfile.write(str(time.time()).encode())

    def log_message(self, *_):
        pass


def get(port):
    with urlopen(f"http://127.0.0.1:{port}/{manner}") as response:
        return response.headers, time.time() - float(response.read())


with http.server.ThreadingHTTPServer(("127.0.0.1", origin), Origin) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    get(inner)
    time.sleep(3)  # the inner cache's answer is nearly over
    get(outer)
    time.sleep(2.3)
    headers, age = get(outer)
    date_age = time.time() - parsedate_to_datetime(headers["Date"]).timestamp()
    limit = LIFETIME + 1  # nginx counts whole seconds
    print(
        f"{headers['X-Outer']}, written {'less' if age < limit else 'more'} than {limit} s ago,",
        f"Age: {headers['Age']},",
        "Date: now" if date_age < 1.5 else "Date: then",
    )
    server.shutdown()
PYTHON

expect() {
  printf '%-14s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

expect "version" "$(usr/sbin/nginx -v 2>&1)" "nginx version: nginx/1.22.1"
expect "max-age=4" "$(python3 read.py max-age "$origin" "$inner" "$outer")" \
  "HIT, written more than 5 s ago, Age: None, Date: now"
expect "Expires: +4 s" "$(python3 read.py expires "$origin" "$inner" "$outer")" \
  "EXPIRED, written less than 5 s ago, Age: None, Date: now"
