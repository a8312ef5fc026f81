#!/usr/bin/env bash
# stamina's timeout does not limit the wait that a backoff hook names.
#
# What a good engineer expects: `stamina.retry_context(on=hook, timeout=45)` gives up after about 45
# seconds: the timeout is the "maximum total time for all retries". The hook tells how long the
# server asked to wait (Retry-After); a wait that cannot end in time ends the retries at once.
#
# What happens: the timeout is looked at when an attempt has failed, and never for the wait that
# follows. With 45 s allowed and Retry-After: 3600, the program sleeps for an hour, makes one more
# attempt, and only then finds that its time is over. (That wait_max does not apply to a hook's wait
# is documented.) With stamina's own backoff the timeout is overrun too, but by wait_max and one
# attempt at most. Up to release 25.1 a hook could not name a wait: a number meant "yes, retry".
#
# Whom it hurts: jobs with a deadline that pass Retry-After on: a server under maintenance says hours,
# and a lock, a slot or a transaction is held for so long, although the code names 45 s.
#
# What helps: a hook that knows the deadline and returns False for a wait that would end after it. The
# failure is then raised at once, with the server's answer.
#
# Seen with: stamina 25.1.0, 25.2.0 and 26.1.0. Python 3.11.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"

cat > "$folder/retries.py" <<'PYTHON'
import logging
import sys
import time

import stamina

TIMEOUT = 0.5
logging.disable()


class Unavailable(Exception):
    """An answer 503 with Retry-After, in seconds."""

    retry_after = 2.0


def hook(error):
    return error.retry_after


def hook_with_deadline(error):
    in_time = time.monotonic() + error.retry_after < deadline
    return error.retry_after if in_time else False


attempts, start = 0, time.monotonic()
deadline = start + TIMEOUT
on = {"plain": hook, "deadline": hook_with_deadline}[sys.argv[1]]
try:
    for attempt in stamina.retry_context(on=on, attempts=None, timeout=TIMEOUT, wait_max=0.1):
        with attempt:
            attempts += 1
            raise Unavailable
except Unavailable:
    took = time.monotonic() - start
    print(
        "1 attempt," if attempts == 1 else "2 attempts," if attempts == 2 else "3 attempts or more,",
        "at once" if took < 0.2 else "within the timeout" if took < 1.5 else "after the 2 s of Retry-After",
    )
PYTHON

expect() {
  printf '%-8s %-20s %s\n' "$1" "$2" "$3"
  [ "$3" = "$4" ] || { echo "this has changed; expected: $4"; exit 1; }
}
run() { "$folder/venv/bin/python" "$folder/retries.py" "$1" 2> "$folder/log"; }

"$folder/venv/bin/pip" install --quiet stamina==25.1.0
expect 25.1.0 "hook" "$(run plain)" "3 attempts or more, within the timeout"
for version in 25.2.0 26.1.0; do
  "$folder/venv/bin/pip" install --quiet "stamina==$version"
  expect "$version" "hook" "$(run plain)" "2 attempts, after the 2 s of Retry-After"
  expect "$version" "hook with deadline" "$(run deadline)" "1 attempt, at once"
done
