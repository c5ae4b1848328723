"""Read, compute and write at the same time, in bounded memory and in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Worked = TypeVar("Worked")
Result = TypeVar("Result")


def overlapped(
    items: Iterable[Item],
    prepare: Callable[[Item], Ready],
    work: Callable[[Ready], Worked],
    finish: Callable[[Worked], Result],
    *,
    ahead: int = 1,
) -> Iterator[Result]:
    """Yield `finish(work(prepare(item)))` of every item, in order.

    An exception is raised where that item's result would have come: after the results of the items before it.

    Args:
        items: taken only as needed.
        prepare, finish: each runs in a thread of its own.
        work: runs in this thread.
        ahead: the most items that are prepared, and that are finished, besides the one in `work`.
    """
    rest = iter(items)
    with ThreadPoolExecutor(1, "prepare") as before, ThreadPoolExecutor(1, "finish") as after:
        ready: deque[Future[Ready]] = deque(before.submit(prepare, item) for item in islice(rest, ahead))
        done: deque[Future[Result]] = deque()
        failed: Exception | None = None
        while ready and failed is None:
            try:
                item = ready.popleft().result()
                ready.extend(before.submit(prepare, item) for item in islice(rest, 1))
                done.append(after.submit(finish, work(item)))
            except Exception as error:
                failed = error
            while len(done) > ahead:
                yield done.popleft().result()
        for future in done:
            yield future.result()
        if failed is not None:
            raise failed
