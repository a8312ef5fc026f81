"""Where the process starts, as `mirror` and as `python -m mirror`.

Importing click takes twice as long as Python's own start, so what can be answered without it is.
"""

import gc
import os
import sys

from mirror.version import __version__

_NARROW = 80


def main() -> None:
    """Run the command line, and exit."""
    said = _said_at_once(sys.argv[1:])
    if said and sys.stdout:
        try:
            sys.stdout.write(said)
            sys.stdout.flush()
            sys.exit()
        except OSError:
            pass  # the command line tells it
    # What is imported stays: looking for garbage in it takes a tenth of the start, and more at the
    # end, when all of it goes anyway.
    gc.set_threshold(1_000_000)
    try:
        from mirror.cli import main

        main()
    finally:
        gc.freeze()


def _said_at_once(arguments: list[str]) -> str | None:
    """Return what is to be said to some arguments, if that is known without click."""
    if arguments == ["--version"]:
        return f"mirror {__version__}\n"
    if arguments in (["--help"], ["-h"]) and _columns() >= _NARROW:
        with open(os.path.join(os.path.dirname(__file__), "help.txt"), encoding="utf-8") as file:
            return file.read()
    return None


def _columns() -> int:
    """Return how wide the terminal is, as click finds it out."""
    try:
        if columns := int(os.environ["COLUMNS"]):
            return columns
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(1).columns
    except OSError:
        return _NARROW


if __name__ == "__main__":
    main()
