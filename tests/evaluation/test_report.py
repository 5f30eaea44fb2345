"""The report, opened in a real browser from disk."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppcls_sspcab.data.samples import Sample
from ppcls_sspcab.data.store import ImageStore
from ppcls_sspcab.evaluation.report import Report
from ppcls_sspcab.evaluation.results import evaluate_scores
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.metric.pixel import PixelMeter
from ppcls_sspcab.paths import RunFolder

CHROMEDRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
THRESHOLD = 10.0
HOSTILE = '</script><img src=x onerror="document.title=1">'


def write_report(folder: Path, count: int) -> Path:
    """A report of made-up pictures: every third is bad; one is missed, one a false alarm."""
    rng = np.random.default_rng(0)
    samples, records = [], []
    for index in range(count):
        bad = index % 3 == 0
        path = folder / "part" / "test" / ("bent" if bad else "good") / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if index < 40:
            Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)).save(path)
        else:
            path.symlink_to(
                folder / "part" / "test" / ("bent" if bad else "good") / f"{index % 3 + 3:04d}.png"
            )
        samples.append(Sample(str(path), int(bad), "bent" if bad else "good", None, "test"))
        score = rng.uniform(12, 20) if bad else rng.uniform(2, 8)
        score = {3: 4.0, 4: 19.0}.get(index, score)
        deviation = (score - THRESHOLD) / 2
        records.append({
            "path": str(path), "label": int(bad), "defect": samples[-1].defect, "score": score,
            "normalized_score": 0.5 + 0.5 * deviation / (1 + abs(deviation)),
            "is_anomaly": score > THRESHOLD,
        })  # fmt: skip
    store = ImageStore(samples, Preprocess((32, 48)), 0)
    report, meter = Report(store), PixelMeter()
    for index, sample in enumerate(samples):
        anomaly_map, mask = np.full((32, 48), 0.2, np.float32), np.zeros((32, 48), bool)
        if sample.label:
            anomaly_map[8:20, 10:30], mask[10:20, 12:30] = 0.9, True
        meter.add(anomaly_map, mask)
        report.look(index, anomaly_map, mask)
    protocol = {"category": "part <1>", "seed": 0, "note": HOSTILE, "versions": {"paddle": "3"}}
    results = evaluate_scores(records, THRESHOLD, 0, protocol, None, meter.results())
    return report.write(results, RunFolder(str(folder.parent), folder.name))


class Browser:
    """The few words of the WebDriver protocol that the tests need."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        }
        wanted = {"alwaysMatch": {"goog:chromeOptions": options}}
        session = self._ask("POST", "/session", {"capabilities": wanted})
        self._base += f"/session/{session['sessionId']}"

    def open(self, page: Path, width: int, height: int) -> None:
        emulated = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._ask(
            "POST",
            "/goog/cdp/execute",
            {"cmd": "Emulation.setDeviceMetricsOverride", "params": emulated},
        )
        self._ask("POST", "/url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def quit(self) -> None:
        self._ask("DELETE", "")

    def _ask(self, method: str, path: str, body: dict | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not (CHROMEDRIVER and CHROMIUM):
        pytest.skip("no chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen([CHROMEDRIVER, f"--port={port}"], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    opened = Browser(port)
                    break
                except (urllib.error.URLError, ConnectionError):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield opened
            opened.quit()
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), 60)


def cards(browser: Browser) -> list[str]:
    return browser.run("return [...document.querySelectorAll('.card')].map(c => c.innerText)")


def choose(browser: Browser, select: str, value: str) -> None:
    browser.run(
        f"const s = document.getElementById('{select}'); s.value = '{value}';"
        "s.dispatchEvent(new Event('change'))"
    )


def test_it_shows_the_errors_first_and_every_picture(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 900)
    assert browser.run("return document.title") == "part <1>: anomaly detection"
    shown = cards(browser)
    assert len(shown) == 24
    assert shown[0].startswith("FALSE ALARM")
    assert "0004.png" in shown[0]
    assert shown[1].startswith("MISSED")
    assert "0003.png" in shown[1]
    names = set()
    for _ in range(3):
        names |= {text.strip().splitlines()[-1] for text in cards(browser)}
        browser.run("document.getElementById('next').click()")
    assert len(names) == 60
    assert browser.run("return document.getElementById('next').disabled")
    # Each strip has three views, 48:32 each, with gaps of 4 pixels, and really decodes.
    sizes = browser.run(
        "return Promise.all([...document.images].map(i => i.decode().then(() =>"
        " [i.naturalWidth, i.naturalHeight])))"
    )
    assert sizes == [[608, 133]] * len(sizes)
    assert sizes


def test_it_can_be_filtered_and_sorted(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 900)
    choose(browser, "show", "missed")
    assert [text.split(" ·")[0] for text in cards(browser)] == ["MISSED"]
    choose(browser, "show", "defect:bent")
    assert len(cards(browser)) == 20
    choose(browser, "show", "good")
    choose(browser, "order", "best")
    scores = [float(re.search(r"score ([\d.]+)", text)[1]) for text in cards(browser)]
    assert scores == sorted(scores)


def test_it_has_curves_tables_and_protocol(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 900)
    assert browser.run("return document.querySelectorAll('.plot svg').length") == 3
    text = browser.run("return document.body.innerText")
    for wanted in ("image AUROC", "pixel AUROC", "AUPRO", "bent", "seed", "paddle 3", HOSTILE):
        assert wanted in text
    assert browser.run("return document.images.length") == 24


def test_contours_against_the_verdict_are_explained_at_the_picture(
    browser: Browser, page: Path
) -> None:
    """The missed one has a contour, and the false alarm has none."""
    browser.open(page, 1280, 900)
    shown = cards(browser)
    assert "no pixel is above the pixel threshold" in shown[0]
    assert "contours are by the pixel threshold" in shown[1]
    assert sum("pixel threshold" in text for text in shown) == 2
    text = " ".join(browser.run("return document.body.innerText").split())
    assert "1 of those called good have contours, and 1 of those called anomalies have none" in text


def test_metrics_are_explained_where_they_stand(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 900)
    rows, explained = (
        browser.run(f"return [...document.querySelectorAll('{where}')].map(e => e.innerText)")
        for where in ("h2 + .table tbody tr td:first-child", ".meaning b")
    )
    assert len(explained) >= 13 and set(explained) <= set(rows)


def test_a_picture_can_be_enlarged_by_mouse_and_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 900)
    browser.run("document.querySelector('.card button').click()")
    width = "return document.querySelector('dialog[open] img').clientWidth"
    assert browser.run(width) > 2 * browser.run("return document.images[0].clientWidth")
    browser.run("document.querySelector('dialog').click()")
    assert browser.run("return document.querySelector('dialog[open]')") is None
    assert browser.run("return document.images.length") == 24


def test_it_asks_no_network(browser: Browser, page: Path) -> None:
    browser.open(page, 1280, 900)
    asked = browser.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in asked if not name.startswith("data:")] == []
    outside = re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)([^"']+)""", page.read_text())
    assert [name for name in outside if name != "x"] == []
    assert "default-src 'none'" in page.read_text()


def test_it_fits_a_phone(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page, 390, 844)
    assert browser.run("return window.innerWidth") == 390
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    widths = browser.run(
        "return [...document.querySelectorAll('.card img, .plot svg, select, button')]"
        ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.height])"
    )
    assert all(left >= 0 and right <= 390 for left, right, _ in widths)
    ratios = browser.run(
        "return [...document.images].map(i => i.clientWidth / i.clientHeight"
        " / (i.naturalWidth / i.naturalHeight))"
    )
    assert all(abs(ratio - 1) < 0.02 for ratio in ratios)
    targets = browser.run(
        "return [...document.querySelectorAll('select, button')]"
        ".map(e => e.getBoundingClientRect().height)"
    )
    assert min(targets) >= 40
    browser.screenshot(tmp_path / "phone.png")
    with Image.open(tmp_path / "phone.png") as picture:
        assert len(set(picture.convert("RGB").resize((60, 120)).getdata())) > 50


def test_two_thousand_pictures_stay_usable(browser: Browser, tmp_path: Path) -> None:
    page = write_report(tmp_path, 2000)
    assert page.stat().st_size < 40e6
    browser.open(page, 390, 844)
    assert browser.run("return document.getElementById('count').textContent").startswith("2000")
    assert len(cards(browser)) == 24
    choose(browser, "order", "worst")
    assert len(cards(browser)) == 24


def test_a_report_without_maps_shows_the_pictures_and_believes_no_name(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    Image.new("RGB", (48, 32)).save(path)
    samples = [Sample(str(path), label, "bent", None, "test") for label in (0, 1)]
    report = Report(ImageStore(samples, Preprocess((32, 48)), 0))
    records = [
        {"path": str(path), "label": label, "defect": HOSTILE, "score": 1.0 + label,
         "normalized_score": 0.5, "is_anomaly": False}
        for label in (0, 1)
    ]  # fmt: skip
    for index in range(2):
        report.look(index, None, None)
    written = report.write(evaluate_scores(records, 1.5, 0, {}), RunFolder(str(tmp_path), "part"))
    text = written.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2 and "<img" not in text
    pictures = json.loads(re.search(r'id="pictures">(.*?)</script>', text)[1])
    assert [(p["width"], p["height"]) for p in pictures] == [(200, 133)] * 2
    assert [p["defect"] for p in pictures] == [HOSTILE] * 2
