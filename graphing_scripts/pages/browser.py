"""Headless Chromium: screenshots, PDF, evaluation of JavaScript, and console messages of a page.

Commands follow the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/), over two pipes that are
file descriptors 3 and 4 of Chromium. Messages end with a zero byte. Only the standard library is needed.
"""

import base64
import json
import os
import select
import subprocess
import tempfile
import time
import typing as tp
from pathlib import Path

from demucs.errors import ToolError

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--mute-audio",
         "--disable-background-networking", "--remote-debugging-pipe", "about:blank")


class Browser:
    """Headless Chromium with one page, a context manager that ends the process on exit.

    `program` is the path of Chromium, `patience` the time limit of one command in seconds. `messages` collects the
    errors and warnings of the page's console, and unhandled exceptions of its scripts.
    """

    def __init__(self, program: str, *, patience: float = 60.):
        self.patience = patience
        self.messages: tp.List[str] = []
        self._number = 0
        self._received = b""
        self._home = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read_end, self._out = os.pipe()
        self._in, write_end = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{read_end} 4>&{write_end}', "bash", program,
             f"--user-data-dir={self._home.name}", *FLAGS],
            pass_fds=(read_end, write_end), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(read_end)
        os.close(write_end)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    _session: tp.Optional[str] = None

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: tp.Any) -> None:
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(timeout=10)
        except (ToolError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._home.cleanup()

    def call(self, method: str, **parameters: tp.Any) -> tp.Dict[str, tp.Any]:
        """Result of the command `method` of the DevTools protocol with `parameters`, sent to the page. Raises ToolError
        if Chromium returns an error or does not answer in time."""
        self._number += 1
        message: tp.Dict[str, tp.Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        try:
            os.write(self._out, json.dumps(message).encode() + b"\0")
        except OSError as error:
            raise ToolError(f"Chromium has ended ({error}); try it with --headless --no-sandbox --dump-dom") from error
        while True:
            answer = self._receive(method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise ToolError(f"Chromium refuses {method}: {answer['error'].get('message')}")
                return answer["result"]

    def _receive(self, method: str) -> tp.Dict[str, tp.Any]:
        end = time.monotonic() + self.patience
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0., end - time.monotonic()))
            part = os.read(self._in, 1 << 20) if ready else b""
            if not part:
                raise ToolError(f"Chromium did not answer {method} within {self.patience:.0f} s")
            self._received += part
        line, _, self._received = self._received.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: tp.Optional[str], about: tp.Dict[str, tp.Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.messages.append(" ".join(str(item.get("value", item.get("description"))) for item in about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.messages.append(about["entry"]["text"])

    def look(self, *, width: int = 1200, height: int = 900, scale: float = 1., dark: bool = False,
             medium: str = "screen") -> None:
        """Set how the page is displayed: window size in CSS pixels, device pixels per CSS pixel (`scale`), preferred
        colour scheme, and medium ("screen" or "print")."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media=medium,
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, page: Path) -> None:
        """Load the file `page` and wait until it is complete. Raises ToolError if that takes longer than `patience`."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        end = time.monotonic() + self.patience
        while self.ask("document.readyState + location.protocol") != "completefile:":
            if time.monotonic() > end:
                raise ToolError(f"{page} was not shown within {self.patience:.0f} s")
            time.sleep(0.05)

    def ask(self, expression: str) -> tp.Any:
        """Value of a JavaScript expression in the page, converted from JSON; promises are awaited. It is evaluated as a
        user gesture, which may play sounds. Raises ToolError if it throws."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                           userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ToolError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def picture(self, path: Path, *, height: tp.Optional[int] = None) -> None:
        """Write a PNG of the whole page, or of its upper `height` CSS pixels, to the file `path`."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(height or size["height"], size["height"]),
                "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print(self, path: Path) -> None:
        """Write a PDF of the page as printed to the file `path`. The page stays in the medium "print"."""
        self.call("Emulation.setEmulatedMedia", media="print", features=[])
        answer = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(answer["data"]))
