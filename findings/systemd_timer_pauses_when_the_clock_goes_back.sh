#!/usr/bin/env bash
# A systemd timer for every 15 minutes pauses for 75 minutes in the night when the clock goes back.
#
# What a good engineer expects: `OnCalendar=*:0/15` matches at each quarter of an hour, and the night
# when summer time ends has 25 hours of four quarters. At worst something runs twice.
#
# What happens: OnCalendar= is in local time unless it names a zone. The hour from 2 to 3 comes twice
# that night, and systemd's calendar knows each of its times once: after 02:45 of summer time it goes
# on at 03:00 of winter time, which is 75 minutes later. `hourly` leaves two hours between its runs,
# and a timer for each minute an hour without one. Persistent= cannot help: by the calendar no run
# was missed. A time within the hour, such as 02:30, is met once, as it should. In spring no quarter
# is left out.
#
# Whom it hurts: monitoring with "no run for 60 minutes" alarms each autumn at night, on every machine
# of the zone at once; queues and certificates that are polled wait. Tests on machines with UTC, as
# most servers and CI have, never see it.
#
# What helps: name UTC in the expression: `OnCalendar=*:0/15 UTC`. For intervals without a time of
# the day, OnUnitActiveSec=15min on the monotonic clock.
#
# Seen with: systemd 252 as packaged by Debian 12 (`systemd-analyze calendar`, which computes what timer
# units use); it needs Debian on x86-64 with package lists (`apt-get update`) and tzdata.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
apt-get download --quiet --quiet systemd libsystemd-shared 2> log || { cat log; exit 1; }
for package in *.deb; do dpkg -x "$package" .; done
analyze() {
  LD_LIBRARY_PATH="$folder/usr/lib/x86_64-linux-gnu/systemd" "$folder/usr/bin/systemd-analyze" "$@"
}

# The runs from 02:30 of summer time on, in UTC. In Berlin the clock goes from 03:00 back to 02:00 at
# 01:00 UTC on 25 October 2026.
runs() {
  analyze calendar --iterations=4 --base-time="2026-10-25 00:29:59 UTC" "$1" |
    grep --only-matching --extended-regexp '[0-9]{2}:[0-9]{2}:00 UTC' | cut -c 1-5 | paste -sd ' '
}
expect() {
  printf '%-32s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

expect "version" "$(analyze --version | cut -d ' ' -f 1,2 | head -n 1)" "systemd 252"
expect "*:0/15 Europe/Berlin" "$(runs '*:0/15 Europe/Berlin')" "00:30 00:45 02:00 02:15"
expect "*:00 Europe/Berlin" "$(runs '*:00 Europe/Berlin')" "02:00 03:00 04:00 05:00"
expect "*-*-* 02:30 Europe/Berlin" "$(runs '*-*-* 02:30 Europe/Berlin')" "00:30 01:30 01:30 01:30"
expect "*:0/15 UTC" "$(runs '*:0/15 UTC')" "00:30 00:45 01:00 01:15"
expect "*:00 UTC" "$(runs '*:00 UTC')" "01:00 02:00 03:00 04:00"
