"""Reading ahead and writing behind, in threads of their own while the caller computes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..plane import RowReceiver

What = TypeVar("What")
Read = TypeVar("Read")


def read_ahead(items: Iterable[What], read: Callable[[What], Read]) -> Generator[Read, None, None]:
    """What `read` makes of each item, in order; the next is read while one is looked at.

    Closing waits for the reading under way. An error of `read` comes out when the item's turn
    comes.
    """
    with ThreadPoolExecutor(1, "reading") as thread:
        coming: Future[Read] | None = None
        for item in items:
            following = thread.submit(read, item)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


class Written:
    """Rows that are written one after the other while the caller goes on.

    A context manager: leaving it waits for all of them, or after an error drops those that wait.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "writing")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> Written:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            if failed is None:
                self.wait()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def write(self, receiver: RowReceiver, rows: slice, values: Any) -> None:
        """Write rows to what receives them, after those before."""
        self._pending.append(self._thread.submit(receiver.__setitem__, rows, values))

    def wait(self) -> None:
        """Wait for all that is to be written; the first error comes out here."""
        pending, self._pending = self._pending, []
        for one in pending:
            one.result()
