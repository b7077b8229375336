"""A headless Chromium driven over its debugging protocol: enough to type, click and read a page."""

import json
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

BINARY = shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page, as a context manager. `run` evaluates JavaScript; `errors` are what the console complained about."""

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="towerline-browser-", ignore_cleanup_errors=True)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--hide-scrollbars"]
        flags += [f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen([str(BINARY), *flags], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._size = (width, height)
        self.errors: list[str] = []
        self._next = 0

    def __enter__(self) -> "Browser":
        from websockets.sync.client import connect

        port_file = Path(self._profile.name) / "DevToolsActivePort"
        self.wait_for(lambda: port_file.exists() and port_file.read_text().strip(), "the browser's port")
        port = port_file.read_text().split()[0]
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self._socket = connect(address, max_size=None)
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        # A headless window is never narrower than 500 pixels; a phone has to be emulated.
        width, height = self._size
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)
        self._profile.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result; events on the way are looked through for errors."""
        self._next += 1
        self._socket.send(json.dumps({"id": self._next, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(message["params"])[:500])
            if message.get("id") == self._next:
                assert "error" not in message, message
                return message["result"]

    def prefer(self, scheme: str) -> None:
        """Makes the reader prefer a light or a dark page."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key: str) -> None:
        """Presses and releases a key such as Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13}
        text = {"text": "\r"} if key == "Enter" else {}
        common: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def open(self, url: str) -> None:
        """Goes to a page and waits until it is loaded."""
        self.send("Page.navigate", url=url)
        self.wait_for(lambda: self.run("document.readyState") == "complete", url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def type(self, field: str, text: str) -> None:
        """Puts the focus on a field, empties it and types."""
        self.run(f"(() => {{ const f = document.getElementById('{field}'); f.focus(); f.select(); }})()")
        self.send("Input.insertText", text=text)

    @staticmethod
    def wait_for(true: Any, what: str, seconds: float = 30.0) -> None:
        """Returns as soon as `true()` is; AssertionError after `seconds`."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            threading.Event().wait(0.02)
