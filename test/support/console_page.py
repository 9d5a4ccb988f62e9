"""The console's page in a headless Chromium, driven as a person would."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

PATIENCE_S = 90.0  # only ever waited out when a test fails

_FIGURE = """
  const figure = [...document.querySelectorAll("figure")].find((one) => one.querySelector("b").textContent === camera);
"""
# How well the masks of a camera cover the red pixels of the very picture under them: [IoU, pixels of the masks, stamp].
_OVER_RED = (
    f"(camera) => {{ {_FIGURE}"
    """
  const [pixels, inks] = ["pixels", "inks"].map((name) => figure.querySelector(`canvas.${name}`));
  const [a, b] = [pixels, inks].map((one) => one.getContext("2d").getImageData(0, 0, one.width, one.height).data);
  let both = 0, either = 0, masked = 0;
  for (let at = 0; at < b.length; at += 4) {
    const red = a[at] > 127 && (REDDEST || (a[at + 1] < 100 && a[at + 2] < 100));
    const mask = b[at + 3] > 0;
    both += red && mask;
    either += red || mask;
    masked += mask;
  }
  return [either ? both / either : 0, masked, figure.dataset.stamp ?? ""];
}"""
)
_MASK = (
    f"(camera) => {{ {_FIGURE}"
    """
  const inks = figure.querySelector("canvas.inks");
  const data = inks.getContext("2d").getImageData(0, 0, inks.width, inks.height).data;
  let mask = "";
  for (let at = 3; at < data.length; at += 4) mask += data[at] ? "1" : "0";
  return [figure.dataset.stamp, inks.width, mask];
}"""
)


@contextmanager
def chromium(*further: str) -> Iterator[Any]:
    """A headless Chromium; skips where there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here (chromium, chromium-browser or google-chrome): apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *further])
        yield opened
        opened.close()


@dataclass
class ConsolePage:
    """One opened page, and what it did that it should not have done."""

    page: Any
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    asked_for: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(1000 * PATIENCE_S)
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("request", lambda request: self.asked_for.append(request.url))

    def _on_console(self, said: Any) -> None:
        # A browser tells of each connection that fails, and servers come and go here; and that we look at canvases.
        expected = ("WebSocket connection to", "Canvas2D: Multiple readback")
        if said.type in ("error", "warning") and not said.text.startswith(expected):
            self.errors.append(said.text)

    def open(self, url: str) -> ConsolePage:
        self.page.goto(url)
        return self

    def close(self) -> None:
        self.page.context.close()

    def until(self, happened: Callable[[], Any], what: str, meanwhile: Callable[[], Any] = lambda: None) -> Any:
        """Poll: Playwright's own waiting needs `eval`, which the page's policy forbids."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if result := happened():
                return result
            meanwhile()
            self.page.wait_for_timeout(20)
        raise AssertionError(
            f"waited in vain for {what}; the page says:\n{self.page.inner_text('body')}\n{self.errors}"
        )

    def text(self, selector: str) -> str:
        return " ".join(self.page.inner_text(selector).split())

    def says(self, selector: str, words: str) -> str:
        """Wait until this part of the page says something."""
        return str(self.until(lambda: words in (told := self.text(selector)) and told, f"{words!r} in {selector}"))

    def ask(self, text: str) -> None:
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def ready(self) -> ConsolePage:
        """Wait until the node is there and active, and pictures come."""
        self.says("#node-state", "active")
        veil = self.page.locator("figure .veil").first
        self.until(lambda: veil.count() and veil.is_hidden(), "pictures")
        return self

    def request(self, text: str, state: str) -> Any:
        """The newest request of these words, once it is in this state."""
        rows = self.page.locator(f'#requests li[data-state="{state}"]', has_text=text)
        self.until(lambda: rows.count() > 0, f"{text!r} to be {state}")
        return rows.first

    def objects(self) -> list[str]:
        return [" ".join(row.split()) for row in self.page.locator("#objects li").all_inner_texts()]

    def shows_objects(self, count: int) -> list[str]:
        self.until(lambda: len(self.objects()) == count, f"{count} objects")
        return self.objects()

    def over_red(self, camera: str = "left", *, reddest: bool = False) -> tuple[float, int, str]:
        """IoU of the masks with the red pixels under them, the masks' pixels, and the picture's stamp.

        `reddest`: red is what the tests' model takes for it, whatever green and blue are.
        """
        share, masked, stamp = self.page.evaluate(_OVER_RED.replace("REDDEST", str(reddest).lower()), camera)
        return float(share), int(masked), str(stamp)

    def mask(self, camera: str) -> tuple[int, NDArray[np.bool_]]:
        """The stamp of the picture that is shown, ns, and where masks lie on it, [H, W]."""
        stamp, width, bits = self.page.evaluate(_MASK, camera)
        return int(stamp), (np.frombuffer(bits.encode(), np.uint8) == ord("1")).reshape(-1, width)
