"""A headless Chromium to look at a page with: screenshots, PDF, questions to the page, what its console says.

It is spoken to in the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/) over a pair of pipes,
file descriptors 3 and 4 of Chromium, each message ended by a zero byte. Nothing but the standard library is needed.
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
    """Chromium with one page. Use it in a `with` statement, which ends it.

    `messages` are the errors and warnings of the page's console so far, and what was not handled in its scripts.
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
        """The result of a command of the protocol. Raises ToolError where Chromium refuses or does not answer."""
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
        """Size of the window in pixels, the reader's colours, "screen" or "print"."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", media=medium,
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, page: Path) -> None:
        """Show a file, and wait until all that belongs to it is there."""
        self.call("Page.navigate", url=page.resolve().as_uri())
        end = time.monotonic() + self.patience
        while self.ask("document.readyState + location.protocol") != "completefile:":
            if time.monotonic() > end:
                raise ToolError(f"{page} was not shown within {self.patience:.0f} s")
            time.sleep(0.05)

    def ask(self, expression: str) -> tp.Any:
        """The value of a JavaScript expression, of a promise what it becomes; it may do what a reader's click may, such
        as to play a sound. Raises ToolError where it fails."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True,
                           userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ToolError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def picture(self, path: Path, *, height: tp.Optional[int] = None) -> None:
        """Write a PNG of the page from its top, whole or `height` pixels of it."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(height or size["height"], size["height"]),
                "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print(self, path: Path) -> None:
        """Write a PDF of the page as a printer gets it."""
        self.call("Emulation.setEmulatedMedia", media="print", features=[])
        answer = self.call("Page.printToPDF", printBackground=False, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(answer["data"]))
