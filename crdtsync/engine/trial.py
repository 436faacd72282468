"""`python -m crdtsync.engine.trial`: the throw-away process that tries changes, one after the other (L6).

It reads, on stdin, a line of JSON that names a change, then the document's state and the delta as they are, and does
with them what deriving does, in a thread, since threads have smaller stacks than processes on some systems. What it
says on stdout stands in `crdtsync.engine.trying`. Time and memory are bounded, by the system where it can do that.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO

from crdtsync import limits
from crdtsync.documents import Document
from crdtsync.engine.shelf import OpenRecord
from crdtsync.engine.trying import BLOATS, PASSED, READY, SOUND
from crdtsync.engine.view import view_change
from crdtsync.errors import Poisoned
from crdtsync.ids import RecordId


def main() -> None:
    """Answer until the other side is gone. Never returns from a change that kills."""
    _bound_memory()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        thread = threading.Thread(target=_serve, args=(sys.stdin.buffer, sys.stdout.buffer, nowhere.fileno()))
        thread.start()
        thread.join()


def _serve(questions: BinaryIO, answers: BinaryIO, nowhere: int) -> None:
    def say(word: bytes) -> None:
        answers.write(word)
        answers.flush()

    say(READY)
    while head := questions.readline():
        asked = json.loads(head)
        state, delta = questions.read(asked["state"]), questions.read(asked["delta"])
        _bound_processor_time()
        # The watchdog of the interpreter needs no Python to run: it also ends what never gives the lock back.
        faulthandler.dump_traceback_later(limits.trial_patience_s, exit=True, file=nowhere)
        try:
            _change(asked, state, delta, lambda: say(SOUND))
            say(PASSED)
        except MemoryError:
            say(BLOATS)
        finally:
            faulthandler.cancel_dump_traceback_later()


def _change(asked: dict[str, Any], state: bytes, delta: bytes, sound: Callable[[], None]) -> None:
    """The document as it was, then with the change. What is refused in an orderly way will be refused there, too; a
    document that cannot be had is not sound, and ends this process."""
    document = Document(asked["client"], state)
    found = OpenRecord(asked["kind"], RecordId(asked["record"]), asked["subject"], document)
    found.prove(asked["client"])
    sound()
    with suppress(Poisoned):
        document.apply(delta)
        found.prove(asked["client"])
        view_change(found, {})


def _bound_memory() -> None:
    """Where the system can do it, memory beyond `limits.trial_memory_bytes_max` is not given."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limits.trial_memory_bytes_max, limits.trial_memory_bytes_max))


def _bound_processor_time() -> None:
    """Where the system can do it, one change gets `limits.trial_seconds` of the processor, however busy that is."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        until = math.ceil(time.process_time() + limits.trial_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    main()
