"""Open a page from disk in headless Chromium and write down what a reader's browser would do
with it.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import websocket

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--window-size=1400,1000",
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """Where Chromium is, if anywhere."""
    return (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


class Browser:
    """One tab. `requests` are all addresses it asked for, `faults` its console errors and
    uncaught exceptions.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.faults: list[str] = []
        self._last = 0

    def __enter__(self) -> Browser:
        self._profile = tempfile.mkdtemp()
        command = [
            chromium() or "chromium",
            *FLAGS,
            f"--user-data-dir={self._profile}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._socket = websocket.create_connection(self._tab(), suppress_origin=True, timeout=60)
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=30)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _tab(self) -> str:
        port_file = Path(self._profile, "DevToolsActivePort")
        for _ in range(300):
            if port_file.exists() and (lines := port_file.read_text().splitlines()):
                with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json") as answer:
                    tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
                if tabs:
                    return str(tabs[0]["webSocketDebuggerUrl"])
            time.sleep(0.1)
        raise TimeoutError("Chromium did not start")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._last:
                return dict(message.get("result", {}))
            self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = event["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] == "error":
            self.faults.append(str([argument.get("value") for argument in event["args"]]))
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.faults.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")

    def open(self, page: Path, ready: str = "true", seconds: float = 60) -> bool:
        """Open the file; True as soon as the JavaScript expression `ready` holds on the loaded
        page.
        """
        self._call("Page.navigate", url=page.resolve().as_uri())
        deadline = time.monotonic() + seconds
        condition = f"document.readyState === 'complete' && Boolean({ready})"
        while time.monotonic() < deadline:
            if self.value(condition):
                return True
            time.sleep(0.2)
        return False

    def wait(self, condition: str, seconds: float = 10) -> bool:
        """True as soon as the JavaScript expression holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.value(f"Boolean({condition})"):
                return True
            time.sleep(0.05)
        return False

    def metrics(self, width: int, height: int) -> None:
        """Show the page in a window of this size, a telephone's where it is narrow."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer.get("result", {}).get("value")

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        image = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(image["data"]))
