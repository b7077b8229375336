"""Takes the documents' pictures from a run on the sample marketplace (simulated): `python docs/pictures.py`.

It needs a promoted release in the work directory (`python pipeline.py run`) and Debian's chromium.
"""

import argparse
import base64
import io
import sys
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the browser of the tests is no part of the package

from components.logs.marketplace.demo import demo_shoppers
from components.runs.demo import server_of
from tests.serving.browser import Browser

FOLDER = Path(__file__).parent / "pictures"
DESKTOP, PHONE = (1280, 900), (390, 844)
PATIENT = tuple(f"serving.{name}_budget_ms=5000" for name in ("feature", "tower", "search"))
"""A busy machine's degraded answer is no picture of the page."""
EXPLAINED = "document.querySelectorAll('#right .title').length && document.querySelectorAll('#history li').length"
"""The lists are there, and behind them the reasons and the shopper's history."""
_COLOURS = 96
_LARGEST = 150_000


def main() -> None:
    """Takes every picture and prints its size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path(".towerline"), help="state of the sample shop")
    workdir = parser.parse_args().workdir.absolute()
    truth = max(workdir.glob("outputs/*/load-log/truth/truth.json")).parent
    shopper, _, query = demo_shoppers(truth)
    report = max(workdir.glob("runs/*/report.html"))
    with server_of(workdir, *PATIENT) as url:
        page = f"{url}/?{urlencode({'q': query, 'user': shopper})}"
        take("search-desktop", page, DESKTOP, EXPLAINED)
        take("search-phone", page, PHONE, EXPLAINED)
    take("report-desktop", report.as_uri(), DESKTOP, "true")


def take(name: str, url: str, size: tuple[int, int], ready: str) -> None:
    """Opens a page and keeps what a window of this size shows of it. Raises SystemExit for a picture too large."""
    with Browser(*size) as browser:
        browser.open(url)
        browser.wait_for(lambda: browser.run(f"Boolean({ready})"), ready)
        shot = browser.send("Page.captureScreenshot", format="png")["data"]
    path = FOLDER / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    with Image.open(io.BytesIO(base64.b64decode(shot))) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size:,} bytes")
    if path.stat().st_size > _LARGEST:
        sys.exit(f"{path} is larger than {_LARGEST:,} bytes.")


if __name__ == "__main__":
    main()
