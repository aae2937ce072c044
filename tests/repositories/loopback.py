"""A web server on this machine for tests, with selectable faults."""

import contextlib
import http.server
import re
import threading
import time


class FileServer:
    """Serves `files` (path -> bytes) with ranges while it is entered; `url` is its root.

    `plan` says how the next requests for a file are answered, one entry each: "slow", "corrupt" (one byte changed),
    "chunked" (no length), "ignore_range", "wrong_range", "garbage" (no HTTP), ("status", code), ("truncate", n),
    ("drop", n) and ("stall", n): end, reset or fall silent after the first n bytes of the file. Afterwards all is well.
    `requests` keeps the headers of each.
    """

    def __init__(self, files):
        self.files = dict(files)
        self.plan = []
        self.requests = []
        self.paths = []
        self._ending = threading.Event()

    def __enter__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.answer(self)

            def do_HEAD(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def headers(self, path, content):
        """Additional headers of an answer (content None: no such file), for derived servers."""
        return {}

    def answer(self, handler):
        content = self.files.get(handler.path)
        self.paths.append(handler.path)
        if content is None:
            return self._error(handler, 404, self.headers(handler.path, None))
        self.requests.append(handler.headers)
        plan = self.plan.pop(0) if self.plan else "well"
        kind, number = plan if isinstance(plan, tuple) else (plan, 0)
        with contextlib.suppress(ConnectionError):
            if kind == "status":
                self._error(handler, number)
            elif kind == "garbage":
                handler.wfile.write(b"who is there?\r\n\r\n")
                handler.close_connection = True
            else:
                self._send(handler, content, kind, number)

    def _error(self, handler, status, headers=()):
        handler.send_response(status)
        for name, value in dict(headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _send(self, handler, content, kind, number):
        begin = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if wanted and kind != "ignore_range":
            begin = int(wanted[1])
            if begin >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(content)}")
                handler.send_header("Content-Length", "0")
                return handler.end_headers()
            claimed = begin + 1 if kind == "wrong_range" else begin
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {claimed}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        if kind == "chunked":
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(len(content) - begin))
        for name, value in self.headers(handler.path, content).items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "HEAD":
            return None
        body = bytearray(content[begin:])
        if kind == "corrupt":
            body[len(body) // 2] ^= 1
        if kind in ("truncate", "drop", "stall"):
            handler.wfile.write(body[:max(0, number - begin)])
            handler.wfile.flush()
            if kind == "stall":
                self._ending.wait(20)
            if kind == "drop":      # closing with unread data outstanding, or at once, is a reset
                handler.connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")      # SOL_SOCKET, SO_LINGER: 0 seconds
                handler.connection.close()
            handler.close_connection = True
        elif kind == "slow":
            for start in range(0, len(body), len(body) // 12):
                handler.wfile.write(body[start:start + len(body) // 12])
                handler.wfile.flush()
                time.sleep(0.1)
        elif kind == "chunked":
            for start in range(0, len(body), 100_000):
                part = body[start:start + 100_000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.wfile.write(body)
