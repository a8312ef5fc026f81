#!/usr/bin/env bash
# Under libfaketime, "do not fake the monotonic clock" ends every timed wait on it at once.
#
# What a good engineer expects: FAKETIME_DONT_FAKE_MONOTONIC=1 moves the calendar and leaves the
# monotonic clock alone, so a wait of 0.3 s on that clock takes 0.3 s. libfaketime's README names
# the setting for the JVM, which hangs without it.
#
# What happens: with a clock that is moved into the future, pthread_cond_timedwait() on a condition
# variable of CLOCK_MONOTONIC returns ETIMEDOUT after 0.000 s, each time, although clock_gettime()
# returns the true monotonic time before and after. libfaketime works out what is left of the wait
# by the shifted monotonic clock, which the program never sees, and finds it long over. On glibc
# 2.30 and later it then adds the rest to the true time (its "forced monotonic fix"), which is on by
# itself there; only without that fix do the two shifts cancel out.
#
# Whom it hurts: those who run a test suite under a moved clock. Loops that wait for a condition
# become busy loops, tests of time-outs pass without having waited, and a runtime that waits so for
# its own locks (Python for its interpreter lock, a JVM for its monitors) misbehaves at random.
#
# What helps: FAKETIME_FORCE_MONOTONIC_FIX=0 beside it. The waits then take as long as they should,
# and the calendar stays moved. (Without either setting the waits are right too, but the monotonic
# clock is shifted by the offset.)
#
# Seen with: libfaketime 0.9.10 as built by the PyPI package libfaketime 3.0.1, and as packaged by
# Debian 12 (0.9.10-2.1); glibc 2.36. It needs Linux with glibc, Python 3.9+ and a C compiler.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet libfaketime==3.0.1
library=$(find "$folder/venv" -name libfaketime.so.1 | head -n 1)

cat > "$folder/wait.py" <<'PYTHON'
import ctypes
import errno
import time

MONOTONIC = 1


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


libc = ctypes.CDLL(None)


def monotonic():
    now = Timespec()
    libc.clock_gettime(MONOTONIC, ctypes.byref(now))
    return now.seconds + now.nanoseconds / 1e9


attributes, condition, mutex = (ctypes.create_string_buffer(128) for _ in range(3))
libc.pthread_condattr_init(attributes)
libc.pthread_condattr_setclock(attributes, MONOTONIC)
libc.pthread_cond_init(condition, attributes)
libc.pthread_mutex_init(mutex, None)
libc.pthread_mutex_lock(mutex)
start = monotonic()
end = start + 0.3
deadline = Timespec(int(end), int(end % 1 * 1e9))
result = libc.pthread_cond_timedwait(condition, mutex, ctypes.byref(deadline))
took = monotonic() - start
ahead = time.gmtime().tm_year >= 2099
print(
    "calendar", "moved" if ahead else "true",
    "wait", errno.errorcode.get(result, result),
    "at once" if took < 0.1 else "in time" if took < 2 else "late",
)
PYTHON

moved() { env FAKETIME=+2500000000 LD_PRELOAD="$library" "$@" "$folder/venv/bin/python" "$folder/wait.py"; }
expect() {
  printf '%-75s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}

expect "no libfaketime" "$("$folder/venv/bin/python" "$folder/wait.py")" "calendar true wait ETIMEDOUT in time"
expect "moved" "$(moved)" "calendar moved wait ETIMEDOUT in time"
expect "FAKETIME_DONT_FAKE_MONOTONIC=1" \
  "$(moved FAKETIME_DONT_FAKE_MONOTONIC=1)" "calendar moved wait ETIMEDOUT at once"
expect "FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0" \
  "$(moved FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0)" "calendar moved wait ETIMEDOUT in time"
