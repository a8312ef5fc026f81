#!/usr/bin/env bash
# prometheus_client names a metric with a dot otherwise in a text file than over HTTP.
#
# What a good engineer expects: a registry has one set of names. Whether it is scraped over HTTP or
# written with write_to_textfile() for node_exporter's textfile collector, the series are the same,
# and a name that Prometheus cannot have raises ValueError, as it did up to release 0.21.
#
# What happens: since 0.22 a dot, or any UTF-8, is allowed, and written in the quoted form of
# Prometheus 3: {"job.last.run"}. Since 0.23 generate_latest() and the HTTP server replace by
# underscores what older servers do not know, job_last_run, but the default of write_to_textfile()
# is the quoted form still: another series. A node_exporter that does not read quoted names (such as
# 1.5.0 of Debian 12) drops the whole file for it, the metrics with plain names as well.
#
# Whom it hurts: those who take names with dots from OpenTelemetry, StatsD or a configuration file,
# and test with generate_latest(): the test passes, the alert on job_last_run has no data, and the
# only sign of the collector is node_textfile_scrape_error 1.
#
# What helps: write_to_textfile(…, escaping="underscores"), since 0.23; or only names of the old form.
#
# Seen with: prometheus-client 0.21.1, 0.22.1 and 0.26.0; prometheus-node-exporter 1.5.0-1+b6 of Debian
# 12 (amd64, with package lists: `apt-get update`). Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
exporter=
trap '[ -z "$exporter" ] || kill "$exporter" 2>/dev/null || true; rm -rf "$folder"' EXIT
chmod 755 "$folder"
mkdir "$folder/text"
python3 -m venv "$folder/venv"
(cd "$folder" && apt-get download --quiet --quiet prometheus-node-exporter=1.5.0-1+b6 2> log || { cat log; exit 1; })
dpkg -x "$folder"/prometheus-node-exporter_*.deb "$folder"

cat > "$folder/write.py" <<'PYTHON'
import sys

from prometheus_client import CollectorRegistry, Gauge, generate_latest, write_to_textfile

path, escaping = sys.argv[1:]
registry = CollectorRegistry()
try:
    Gauge("plain", "A name of the old form.", registry=registry).set(1)
    Gauge("job.last.run", "A name with dots.", registry=registry).set(1)
except ValueError:
    sys.exit(print("ValueError"))
write_to_textfile(path, registry, **({"escaping": escaping} if escaping else {}))


def names(text):
    return " ".join(line.split()[0] for line in text.splitlines() if not line.startswith("#"))


print("HTTP:", names(generate_latest(registry).decode()), "file:", names(open(path).read()))
PYTHON

port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
"$folder/usr/bin/prometheus-node-exporter" --collector.disable-defaults --collector.textfile \
  --collector.textfile.directory="$folder/text" --web.listen-address="127.0.0.1:$port" > "$folder/log" 2>&1 &
exporter=$!

scrape() {
  python3 - "http://127.0.0.1:$port/metrics" <<'PYTHON'
import sys, time, urllib.request

for attempt in range(50):
    try:
        text = urllib.request.urlopen(sys.argv[1]).read().decode()
        break
    except OSError:
        time.sleep(0.1)
wanted = ("plain", "job", '{"job', "node_textfile_scrape_error")
print(*sorted(line for line in text.splitlines() if line.startswith(wanted)), sep=", ")
PYTHON
}
expect() {
  printf '%-26s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
write() { "$folder/venv/bin/python" "$folder/write.py" "$folder/text/job.prom" "$1"; }

"$folder/venv/bin/pip" install --quiet prometheus-client==0.21.1
expect "0.21.1" "$(write "")" "ValueError"
"$folder/venv/bin/pip" install --quiet prometheus-client==0.22.1
expect "0.22.1" "$(write "")" 'HTTP: plain {"job.last.run"} file: plain {"job.last.run"}'
"$folder/venv/bin/pip" install --quiet prometheus-client==0.26.0
expect "0.26.0" "$(write "")" 'HTTP: plain job_last_run file: plain {"job.last.run"}'
expect "  node_exporter 1.5.0" "$(scrape)" "node_textfile_scrape_error 1"
expect "0.26.0, escaping" "$(write underscores)" "HTTP: plain job_last_run file: plain job_last_run"
expect "  node_exporter 1.5.0" "$(scrape)" "job_last_run 1, node_textfile_scrape_error 0, plain 1"
