"""Tests of the report with axe: no violation, in light and in dark, with all details open.

Besides, every control takes the keyboard, and every figure has numbers in its alternative text.
"""

import json
from html import escape
from pathlib import Path

import axe_core_python
import pytest

from tests.browser.test_report import visit
from tests.results.example_report import write_report
from tests.results.examples import RunScenario, make_run, make_sweep

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

AXE = Path(axe_core_python.__file__).parent / "axe.min.js"
PROBE = """
<script>
for (const fold of document.querySelectorAll(".fold")) fold.click();
for (const details of document.querySelectorAll("details")) details.open = true;
const marks = [...document.querySelectorAll(".mark")];
for (const mark of marks.slice(0, 2)) mark.click();
const controls = [...document.querySelectorAll("button, input, summary, a[href], .fold, .mark")];
const native = ["BUTTON", "INPUT", "SUMMARY", "A"];
const mute = controls.filter((one) => one.tabIndex < 0 || !native.includes(one.tagName));
const keys = mute.map((one) => ["keyboard", [one.outerHTML.slice(0, 200)]]);
const labels = [...document.querySelectorAll("svg[role=img]")].map(
  (one) => one.getAttribute("aria-label"));
const vague = labels.filter((one) => !/\\d/.test(one)).map((one) => ["no numbers", [one]]);
if (labels.length < 5) vague.push(["figures", [labels.length]]);
axe.run().then(({violations}) => {
  const found = [...keys, ...vague];
  const nodes = (one) => one.nodes.map((node) => node.html.slice(0, 200));
  found.push(...violations.map((one) => [one.id, nodes(one)]));
  document.body.setAttribute("data-found", JSON.stringify(found));
});
</script>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("axe")
    seeds = [
        make_run(
            folder / f"{arm}-{seed}",
            f"{arm}, seed {seed}",
            {"features.spectrum": arm, "train.seed": seed},
            RunScenario(escape_updates=300, epochs=8, final_dev_cer=rate, seed=10 * seed),
        )
        for arm, rate in (("mel", 0.05), ("power", 0.2))
        for seed in range(3)
    ]
    arabic = make_run(folder / "rtl", "قوة الطيف", {"input.stack": 3})
    question = "Question: which spectrum is best?\nExpect: mel."
    write_report([*make_sweep(folder), *seeds, arabic], folder / "report", question=question)
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(folder: Path, scheme: str):
    text = (folder / "report/report.html").read_text(encoding="utf-8")
    text = text.replace('http-equiv="Content-Security-Policy"', "")
    if scheme == "dark":
        text = text.replace("@media (prefers-color-scheme: dark)", "@media screen")
    axe = f"<script>{AXE.read_text(encoding='utf-8')}</script>"
    probed = folder / f"{scheme}.html"
    probed.write_text(text.replace("</body>", f"{axe}{PROBE}</body>"), "utf-8")
    found = visit(probed, 1280, folder / scheme, "--virtual-time-budget=60000").found
    assert found == [], json.dumps(found, indent=1)


def test_the_direction_of_a_label_is_its_own(folder: Path):
    source = (folder / "report/report.html").read_text(encoding="utf-8")
    assert f'<bdi class="label">{escape("قوة الطيف")}</bdi>' in source
