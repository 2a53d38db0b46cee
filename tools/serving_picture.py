"""Makes docs/pictures/serving.png: the server's page after a photograph was chosen.

    .venv/bin/python tools/serving_picture.py --bundle data/06_models/demo/cable/dfc/bundle/dfc-demo-cable \
        --photograph data/01_raw/demo/cable/test/bent_strand/000.png

Needs Chromium and its driver (`make browser`).
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.support.ui import WebDriverWait

PROJECT = Path(__file__).parents[1]
ADDRESS = "http://127.0.0.1:8766"
LOADED = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"


def main() -> None:
    """Serve, choose the photograph, and save what the browser shows."""
    parser = argparse.ArgumentParser(description="Make a picture of the server's page.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--photograph", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=PROJECT / "docs/pictures/serving.png")
    given = parser.parse_args()
    command = [sys.executable, "-m", "discrepancy", "serve", "--bundle", str(given.bundle), "--port", ADDRESS[-4:]]
    server = subprocess.Popen(command)
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1120,760"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        WebDriverWait(browser, 20, ignored_exceptions=[WebDriverException]).until(lambda b: b.get(ADDRESS) is None)
        browser.find_element("id", "file").send_keys(str(given.photograph.resolve()))
        WebDriverWait(browser, 20).until(lambda b: b.find_element("id", "pictures").is_displayed())
        WebDriverWait(browser, 20).until(lambda b: b.execute_script(LOADED))
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    finally:
        browser.quit()
        server.terminate()
        server.wait()
    picture.quantize(256).save(given.output, optimize=True)


if __name__ == "__main__":
    main()
