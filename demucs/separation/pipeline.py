"""Three stages of work on many items: while one is worked on, the next is prepared and the one before is finished.

At most one item is ahead and one behind, so that memory does not depend on the number of items.
"""

import threading
import typing as tp
from concurrent.futures import Future, ThreadPoolExecutor

Item = tp.TypeVar("Item")
Prepared = tp.TypeVar("Prepared")
Done = tp.TypeVar("Done")
Fatal = tp.Tuple[tp.Type[BaseException], ...]


def run(items: tp.Sequence[Item], *, prepare: tp.Callable[[Item], Prepared], work: tp.Callable[[Item, Prepared], Done],
        finish: tp.Callable[[Item, Done], None], failed: tp.Callable[[Item, Exception], None],
        discard: tp.Callable[[Prepared], None], stop: threading.Event, fatal: Fatal = ()) -> None:
    """Work on `items` in their order: `work(item, prepare(item))` in this thread, `prepare` in a second one, and
    `finish` with the result of `work` in a third. For a single item all is in this thread.

    An exception of a stage is passed to `failed`, in the order of the items, and the next item follows; but one of the
    types `fatal`, or one that is no Exception, is raised here. Before that, `stop` is set, which should end a `prepare`
    that is running, what is prepared is given to `discard`, and the item before is finished.
    """
    executors = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)] if len(items) > 1 else []
    start: tp.Callable[..., "Future[tp.Any]"] = executors[0].submit if executors else _at_once
    end: tp.Callable[..., "Future[tp.Any]"] = executors[1].submit if executors else _at_once
    ahead: tp.Optional["Future[Prepared]"] = None
    behind: tp.Optional[tp.Tuple[Item, "Future[None]"]] = None

    def settle() -> None:
        nonlocal behind
        if behind is not None:
            item, future = behind
            behind = None
            error = _error_of(future.result, fatal)
            if error is not None:
                failed(item, error)

    try:
        for index, item in enumerate(items):
            prepared = ahead if ahead is not None else start(prepare, item)
            prepared.exception()                # waits
            ahead = start(prepare, items[index + 1]) if index + 1 < len(items) else None
            done: tp.List[Done] = []
            error = _error_of(lambda: done.append(work(item, prepared.result())), fatal)
            settle()
            if error is not None:
                failed(item, error)
            else:
                behind = item, end(finish, item, done[0])
        settle()
    except BaseException:
        stop.set()
        if ahead is not None:
            ahead.add_done_callback(lambda future: None if future.cancelled() or future.exception() else
                                    discard(future.result()))
            ahead.cancel()
        raise
    finally:
        for executor in executors:
            executor.shutdown()


def _at_once(function: tp.Callable[..., tp.Any], *arguments: tp.Any) -> "Future[tp.Any]":
    """A future whose function has run in this thread."""
    future: "Future[tp.Any]" = Future()
    try:
        future.set_result(function(*arguments))
    except BaseException as error:
        future.set_exception(error)
    return future


def _error_of(call: tp.Callable[[], tp.Any], fatal: Fatal) -> tp.Optional[Exception]:
    """Exception of `call`, or None. Those of the types `fatal` are raised."""
    try:
        call()
    except fatal:
        raise
    except Exception as error:
        return error
    return None

