"""Entry point of `mirror` and of `python -m mirror`."""

import gc
import os
import sys


def main() -> None:
    """Run the command line, and exit."""
    # Collecting garbage takes a tenth of a sync that finds nothing new while modules are imported.
    # Nothing of what is imported is garbage, and with Postgres it is half as many objects.
    gc.set_threshold(250_000)
    try:
        code = _run()
    except KeyboardInterrupt:  # outside of a command, such as while modules are imported
        code = 1
        try:  # noqa: SIM105 (an import could be interrupted again)
            os.write(2, b"mirror: interrupted\n")
        except OSError:  # stderr is closed
            pass
    # Freeing each object would take a twentieth of such a sync. All that has to end in order, such
    # as files and connections, has been closed by what opened it.
    os._exit(code)


def _run() -> int:
    from contextlib import suppress

    from mirror.cli import main as run_command_line

    code = run_command_line()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it
            stream.flush()
    return code


if __name__ == "__main__":
    main()
