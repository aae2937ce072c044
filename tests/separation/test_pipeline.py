"""The three stages of work on many items."""

import threading
import time

import pytest

from demucs.separation import pipeline


class Trace:
    """Stages that note what they do, and fail for the items in `bad` ({item: (stage, exception)})."""

    def __init__(self, **bad):
        self.bad, self.events, self.failures, self.discarded = bad, [], [], []
        self.threads, self.stop = set(), threading.Event()

    def _stage(self, name, item):
        self.threads.add(threading.get_ident())
        self.events.append((name, item))
        stage, error = self.bad.get(item, (None, None))
        if stage == name:
            raise error
        return f"{name} {item}"

    def run(self, items, **more):
        pipeline.run(items, prepare=lambda item: self._stage("prepare", item),
                     work=lambda item, found: self._stage("work", item) if found == f"prepare {item}" else 1 / 0,
                     finish=lambda item, found: self._stage("finish", item) if found == f"work {item}" else 1 / 0,
                     failed=lambda item, error: self.failures.append((item, str(error))),
                     discard=self.discarded.append, stop=self.stop, **more)


def test_every_item_passes_all_stages():
    trace = Trace()
    trace.run("abcd")
    assert sorted(trace.events) == sorted((stage, item) for stage in ("prepare", "work", "finish") for item in "abcd")
    for stage in ("prepare", "work", "finish"):
        assert [item for name, item in trace.events if name == stage] == list("abcd")
    assert len(trace.threads) == 3 and not trace.failures and not trace.stop.is_set()


def test_one_item_needs_no_thread():
    trace = Trace()
    trace.run("a")
    assert trace.threads == {threading.get_ident()} and len(trace.events) == 3
    Trace().run("")


def test_one_item_ahead_and_one_behind():
    trace, most = Trace(), []

    def work(item, _):
        time.sleep(0.01)
        begun = sum(name == "prepare" for name, _ in trace.events)
        finished = sum(name == "finish" for name, _ in trace.events)
        most.append(begun - finished)
        return f"work {item}"
    pipeline.run(range(8), prepare=lambda item: trace._stage("prepare", item), work=work,
                 finish=lambda item, _: trace._stage("finish", item), failed=lambda *_: 1 / 0, discard=None, stop=trace.stop)
    assert max(most) <= 3


def test_failures_in_the_order_of_the_items():
    trace = Trace(a=("finish", ValueError("first")), b=("prepare", ValueError("second")), c=("work", OSError("third")))
    trace.run("abcd")
    assert trace.failures == [("a", "first"), ("b", "second"), ("c", "third")]
    assert ("finish", "d") in trace.events and not trace.stop.is_set()


@pytest.mark.parametrize("stage", ["prepare", "work", "finish"])
@pytest.mark.parametrize("error,fatal", [(KeyboardInterrupt(), ()), (ValueError("no"), (ValueError,))])
@pytest.mark.parametrize("items", ["a", "abcd"])
def test_what_ends_all(stage, error, fatal, items):
    trace = Trace(a=(stage, error))
    with pytest.raises(type(error)):
        trace.run(items, fatal=fatal)
    assert trace.stop.is_set() and not trace.failures
    prepared = [item for name, item in trace.events if name == "prepare" and item != "a"]
    worked = [item for name, item in trace.events if name == "work"]
    assert [found.split()[-1] for found in trace.discarded] == [item for item in prepared if item not in worked]
    assert "d" not in prepared
