"""A real browser without a window, told what to do through a pipe by Chromium's own debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from tests.e2e.stack import PATIENCE
from tests.servers import eventually, program

OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-extensions",
    "--disable-crash-reporter",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--window-size=900,1200",
]


class Browser:
    """One Chromium with one page. `errors` is what the page threw or did against its policy, and what it told the
    console as an error; nothing may be in it at the end.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._last = 0
        self._session = ""
        self._rest = b""
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        told, self._out = os.pipe()
        self._in, tells = os.pipe()
        words = [program("chromium"), *OPTIONS, f"--user-data-dir={self._directory / 'profile'}", "about:blank"]
        with (self._directory / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                # It reads from 3 and writes to 4.
                ["bash", "-c", f'exec "$@" 3<&{told} 4>&{tells}', "bash", *words],
                env={**os.environ, "HOME": str(self._directory)},
                pass_fds=(told, tells),
                stdout=log,
                stderr=log,
            )
        os.close(told)
        os.close(tells)
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __exit__(self, *error: object) -> None:
        os.close(self._out)  # a browser whose pipe ends, ends with all its processes
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command, and its answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + bytes(1))
        while True:
            answer = self._read()
            if _is_fault(answer):
                self.errors.append(json.dumps(answer["params"])[:2000])
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer)
                return dict(answer["result"])

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while bytes(1) not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._in, 1 << 20)
            assert data, f"the browser has ended: {(self._directory / 'chromium.log').read_text()[-2000:]}"
            self._rest += data
        message, _, self._rest = self._rest.partition(bytes(1))
        return dict(json.loads(message))

    # -- what a person does

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def leave(self) -> None:
        """Nothing is open any more; the next page begins anew, even when it is the same one."""
        self.call("Page.navigate", url="about:blank")
        self.until("location.href === 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        eventually(lambda: bool(self.evaluate(expression)), expression, PATIENCE)

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def click(self, selector: str) -> None:
        self.until(f"document.querySelector({selector!r}) !== null")
        self.evaluate(f"document.querySelector({selector!r}).click()")

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({selector!r})?.textContent ?? ''"))

    def upload_speed(self, bytes_per_second: float) -> None:
        """-1: as fast as it goes."""
        self.call(
            "Network.emulateNetworkConditions",
            offline=False, latency=0, downloadThroughput=-1, uploadThroughput=bytes_per_second,
        )  # fmt: skip

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip

    def prefers(self, scheme: str) -> None:
        """light or dark"""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def key(self, name: str) -> None:
        """Press a key that has a name: ArrowDown, Tab, Enter."""
        codes = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowUp": 38, "ArrowDown": 40}
        key = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        text = {"text": "\r"} if name == "Enter" else {}  # without, a button is not pressed
        self.call("Input.dispatchKeyEvent", type="keyDown", **key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


def _is_fault(event: dict[str, Any]) -> bool:
    """Of the browser's own log only what is against a policy: that a request failed is often what a test is about."""
    params = event.get("params", {})
    match event.get("method"):
        case "Runtime.exceptionThrown":
            return True
        case "Runtime.consoleAPICalled":
            return bool(params["type"] in ("error", "assert"))
        case "Log.entryAdded":
            return params["entry"]["source"] in ("security", "violation", "deprecation") or (
                "Content Security Policy" in params["entry"]["text"]
            )
    return False
