"""Messages of libraries are suppressed, those of other threads are not lost."""

import os
import subprocess
import sys
import threading

import pytest

from demucs import notes

pytestmark = pytest.mark.runs

CODE = """
import os, sys, threading, time
from demucs.console import tolerant_streams
from demucs.notes import audible, without_library_notes
begun, end = threading.Event(), threading.Event()
def decode():
    with without_library_notes():
        begun.set()
        os.write(2, b"note of a library\\n")
        end.wait(10)
        os.write(2, b"another note\\n")
with tolerant_streams():
    thread = threading.Thread(target=decode)
    thread.start()
    begun.wait(10)
    threading.Timer(0.2, end.set).start()
    print("a message", file=sys.stderr, flush=True)
    thread.join()
    with without_library_notes():
        print("lost", file=sys.stderr, flush=True)      # the thread itself need not wait for its own end
    print("the end", file=sys.stderr, flush=True)
"""


def test_a_message_waits_for_the_notes_of_another_thread(repository):
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=repository, timeout=60)
    assert done.stderr == "a message\nthe end\n" and done.returncode == 0


def test_notes_wait_for_a_message():
    inside, order = threading.Event(), []

    def decode():
        inside.wait(10)
        with notes.without_library_notes():
            order.append("note")
    thread = threading.Thread(target=decode)
    thread.start()
    with notes.audible():
        inside.set()
        thread.join(0.1)
        order.append("message")
    thread.join()
    assert order == ["message", "note"]


def test_a_child_has_a_lock_of_its_own():
    with notes.audible():
        child = os.fork()
        if not child:
            with notes.audible():
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
