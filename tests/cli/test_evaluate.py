"""`hcflow evaluate`, end to end: two small networks of both tasks on pictures of noise."""

import base64
import csv
import html.parser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli, images, sampling
from hcflow_jax.evaluation import figures, lpips
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize
from tests.support import save_randomized
from tests.tiny import ONE_LEVEL

HOSTILE = "a|<img src=x onerror=alert(1)>&.png" if os.name == "posix" else "a&b.png"
METHODS = ["bicubic", "lanczos", "sr_T0", "sr_T0.5", "rescaling_T0", "rescaling_T0.5"]
SAMPLES = 2
FILES = ["index.html", "pictures", "results.csv", "results.json", "results.md"]


def _photographs(folder, names, sides=(40, 48)):
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        small = rng.integers(0, 256, (sides[0] // 4, sides[1] // 4, 3), dtype=np.uint8)
        Image.fromarray(imresize(small, size=sides)).save(f"{folder}/{name}")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A working folder with two checkpoints, ×2."""
    folder = tmp_path_factory.mktemp("evaluate")
    save_randomized(ONE_LEVEL, folder)
    return folder


def _argv(*more, tasks=("sr", "rescaling"), samples=SAMPLES):
    named = [word for task in tasks for word in ("--checkpoint", task)]
    drawn = ["--temperatures", "0,0.5", "--samples", str(samples)]
    return ["evaluate", "photos", *named, *drawn, *more]


@pytest.fixture(scope="module")
def report(home):
    """The folder of a report on three pictures, one of which is broken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        _photographs("photos", [HOSTILE, "b.png"], (41, 49))
        Path("photos/broken.png").write_bytes(Path("photos/b.png").read_bytes()[:60])
        assert cli.main(_argv("-o", "report")) == 1
    return home / "report"


@pytest.fixture
def folder(home, report, monkeypatch):
    """The working folder; counts samples that are drawn in `folder.drawn`."""
    monkeypatch.chdir(home)
    drawn, sample_all = [], sampling.sample_all

    def counted(*args, **named):
        for sample in sample_all(*args, **named):
            drawn.append(args[3])
            yield sample

    monkeypatch.setattr(sampling, "sample_all", counted)
    return drawn


def _values(report):
    return json.loads((report / "results.json").read_text(encoding="utf-8"))


def _expected(name):
    """{method: figures} of a picture, computed one by one."""
    hr = images.read_uint8(f"photos/{name}")[:40, :48]
    lr = imresize(hr, 0.5)
    found = {k: [x] for k, x in figures.interpolated(lr, 2).items()}
    own = {}
    for task in ("sr", "rescaling"):
        model, params = sampling.load(task)
        small = lr
        if task == "rescaling":
            small = metrics.to_uint8(sampling.downscale(model, params, hr.astype(np.float32) / 255))
            own = {f"{k}_own": v for k, v in figures.of_lr(small, lr).items()}
        for tau in (0, 0.5):
            found[f"{task}_T{tau:g}"] = [
                metrics.to_uint8(
                    sampling.sample(
                        model, params, small.astype(np.float32) / 255, tau, 0, i, check=False
                    )
                )
                for i in range(SAMPLES if tau else 1)
            ]
    judge, rows = lpips.load(), {}
    for method, results in found.items():
        rows[method] = figures.mean([figures.fidelity(x, hr, lr, 2, judge) for x in results])
        rows[method] |= figures.diversity(results, hr, judge) if len(results) > 1 else {}
        rows[method] |= own if method.startswith("rescaling") else {}
    return rows


def test_the_figures_are_those_of_the_protocol(folder, report):
    found = _values(report)
    assert [m["name"] for m in found["methods"]] == METHODS
    names = {picture["name"]: picture for picture in found["pictures"]}
    assert set(names) == {HOSTILE, "b.png"} and names["b.png"]["width"] == 48
    rows = _expected("b.png")
    assert set(rows["rescaling_T0.5"]) - set(rows["sr_T0"]) >= {"diversity", "lr_psnr_own"}
    for method, expected in rows.items():
        assert names["b.png"]["figures"][method] == pytest.approx(expected, rel=1e-5), method
        both = [picture["figures"][method] for picture in found["pictures"]]
        assert found["means"][method] == pytest.approx(figures.mean(both))


def test_json_says_what_was_measured_how_and_on_what(report):
    found = _values(report)
    assert found["settings"]["scale"] == 2 and found["settings"]["lpips"] == "alexnet"
    assert found["cropped"] == 2 and found["machine"]["hcflow_jax"] and found["date"]
    assert [n["task"] for n in found["networks"]] == ["sr", "rescaling"]
    assert len({n["sha256"] for n in found["networks"]}) == 2
    (failed,) = found["failed"]
    assert failed["name"] == "broken.png" and "export it again" in failed["reason"]


def test_csv_and_markdown_agree_with_json(report):
    found = _values(report)
    with open(report / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(METHODS)
    pictures = {picture["name"]: picture["figures"] for picture in found["pictures"]}
    for row in rows:
        for name, value in pictures[row["picture"]][row["method"]].items():
            assert float(row[name]) == value
        assert row["temperature"] == {"0": "0.0", "5": "0.5"}.get(row["method"][-1], "")
    lines = (report / "results.md").read_text(encoding="utf-8").splitlines()
    tables = [
        [c.strip(" *") for c in re.split(r"(?<!\\)\|", x)[1:-1]] for x in lines if x[:1] == "|"
    ]
    head, means = tables[0], tables[2 : 2 + len(METHODS)]
    assert head[1:4] == ["PSNR-Y ↑", "SSIM-Y ↑", "PSNR ↑"]
    for line, method in zip(means, METHODS, strict=True):
        assert line[1] == f"{found['means'][method]['psnr_y']:.2f}"
    below = tables[2 + len(METHODS) :]
    assert len(below) == 2 + 2 * len(METHODS) and {len(line) for line in below} == {len(below[0])}


class Page(html.parser.HTMLParser):
    """The tags that a page opens, with their attributes, and its data."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.data = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.tags and self.tags[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.data += data


def test_the_page_is_one_file_that_asks_for_nothing_and_runs_no_name(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"(https?:)?//[\w.]+\.\w", text.replace("// ", "")), "an address"
    fetched = [a.get("src") or a.get("href") for _, a in page.tags]
    assert set(filter(None, fetched)) == {"data:,"}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert not [tag for tag, _ in page.tags if tag == "img"] and not page.open[3:]
    assert HOSTILE not in text


def test_the_page_shows_every_picture_by_every_method(report):
    text = (report / "index.html").read_text(encoding="utf-8")
    pictures = json.loads(Page(text).data)
    assert [p["name"] for p in pictures] == [HOSTILE, "b.png"]
    titles = ["HR", "LR", "bicubic", "Lanczos", "sr, T = 0", "sr, T = 0.5", "spread of sr, T = 0.5"]
    assert [v["title"] for v in pictures[1]["views"]][:7] == titles
    assert len(pictures[1]["views"]) == 11  # rescaling has its LR picture too
    assert text.count("<svg") == 3 and text.count('class="viewer"') == 2
    for view in pictures[1]["views"]:
        data = view["source"].removeprefix("data:image/webp;base64,")
        with images.opened(base64.b64decode(data)) as image:
            assert image.size == (48 // view["factor"], 40 // view["factor"])


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, to run the page's script")
def test_the_pages_script_builds_viewers(report, tmp_path):
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
    command = [CHROMIUM, *quiet, "--disable-sync", "--no-first-run", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path}", "--window-size=1280,4000", "--timeout=5000"]
    done = subprocess.run(
        [*command, "--dump-dom", (report / "index.html").as_uri()], capture_output=True, text=True
    )
    assert "CONSOLE" not in done.stderr
    viewers = done.stdout.count('class="viewer ready"')  # the second where it comes into sight
    assert 1 <= viewers <= 2 and done.stdout.count('type="range"') == viewers
    assert done.stdout.count('aria-pressed="true">') == viewers


def test_the_same_command_computes_nothing_again(folder, report, capsys):
    before = (report / "results.csv").read_text()
    assert cli.main(_argv("-o", "report")) == 1
    out = capsys.readouterr().out.splitlines()
    assert folder == [] and (report / "results.csv").read_text() == before
    assert (
        out[0]
        == "2 pictures, 6 methods (4 of networks), 2 samples: 16 results, 16 of them kept in report"
    )
    assert out[-1] == f"report{os.sep}index.html" and max(map(len, out)) <= 100


def test_only_what_is_missing_or_changed_is_computed(folder, report, capsys):
    os.unlink(report / "pictures/b.png/sr_T0.5.json")
    os.unlink(report / "pictures/b.png/rescaling_T0.png")
    before = (report / "results.csv").read_text()
    assert cli.main(_argv("-o", "report")) == 1
    assert sorted(folder) == [0, 0.5, 0.5] and (report / "results.csv").read_text() == before
    folder.clear()
    assert cli.main(_argv("-o", "report", "--seed", "1", tasks=["sr"])) == 1
    assert folder == [0.5] * 2 * SAMPLES  # temperature 0 draws nothing from a seed
    _photographs("photos", ["b.png"], (41, 49))
    Image.fromarray(255 - images.read_uint8("photos/b.png")).save("photos/b.png")
    folder.clear()
    assert cli.main(_argv("-o", "report", "--seed", "1", tasks=["sr"])) == 1
    assert len(folder) == 1 + SAMPLES


def test_an_interrupted_command_is_continued(folder, home, capsys, monkeypatch):
    sample_all = sampling.sample_all

    def interrupted(*args, **named):
        for i, sample in enumerate(sample_all(*args, **named)):
            if args[3] and i == SAMPLES:
                raise KeyboardInterrupt
            yield sample

    argv = _argv("-o", "stopped", tasks=["sr"])
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sample_all", interrupted)
        assert cli.main(argv) == 130
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert "results are kept in stopped; the same command continues" in first
    assert second == "hcflow: interrupted" and not (home / "stopped/index.html").exists()
    folder.clear()
    assert cli.main(argv) == 1
    assert folder.count(0) == 0 and 0 < len(folder) <= 2 * SAMPLES
    assert sorted(os.listdir(home / "stopped")) == FILES


def test_lr_pictures_may_be_given_and_what_lacks_one_is_listed(folder, home, capsys):
    _photographs("given/hr", ["1.png", "2.png", "3.png"])
    _photographs("given/lr", ["1x2.png", "2.png"], (20, 24))
    Image.new("RGB", (9, 9)).save("given/lr/2.png")
    argv = ["evaluate", "given/hr", "--lr", "given/lr", "--checkpoint", "sr", "--temperatures", "0"]
    assert cli.main(argv) == 1
    out, err = capsys.readouterr()
    first, second, third = err.splitlines()
    assert first == "hcflow: 2 of 3 pictures failed:"
    assert "2.png, 9×9; crop it" in second and "3.png has no LR picture in given" in third
    found = _values(home / "evaluation/given")  # its default
    assert out.splitlines()[-1] == os.path.join("evaluation", "given", "index.html")
    hr, lr = images.read_uint8("given/hr/1.png"), images.read_uint8("given/lr/1x2.png")
    expected = figures.fidelity(imresize(lr, 2), hr, lr, 2, lpips.load())
    assert found["pictures"][0]["figures"]["bicubic"] == pytest.approx(expected)
    assert found["settings"]["lr"] == "given/lr" and "<svg" not in Path(
        "evaluation/given/index.html"
    ).read_text(encoding="utf-8")


def test_where_no_picture_can_be_used(folder, capsys):
    _photographs("small", ["1.png"], (12, 40))
    assert cli.main(["evaluate", "small", "--checkpoint", "sr", "-o", "none"]) == 2
    out, err = capsys.readouterr()
    assert "figures need sides of 31 pixels; remove it" in err and out == ""
    assert not os.path.exists("none/index.html")


def test_a_result_that_is_not_finite_is_listed(folder, capsys, monkeypatch):
    def broken(model, params, pictures, *args, **named):
        for i, (lr, _) in enumerate(pictures):
            yield sampling.Sample(np.full((2 * len(lr), 48, 3), np.nan if i == 0 else 0.5))

    _photographs("two", ["1.png", "2.png"])
    monkeypatch.setattr(sampling, "sample_all", broken)
    argv = ["evaluate", "two", "--checkpoint", "sr", "--temperatures", "0.5", "--samples", "1"]
    assert cli.main([*argv, "-o", "nan"]) == 1
    out, err = capsys.readouterr()
    assert "1.png: the result of sr, T = 0.5 is not finite; lower --temperatures" in err
    assert [p["name"] for p in _values(Path("nan"))["pictures"]] == ["2.png"]


def test_without_lpips_a_line_says_how_to_get_it(folder, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _photographs("two", ["1.png", "2.png"])
    argv = ["evaluate", "two", "--checkpoint", "sr", "--temperatures", "0", "-o", "without"]
    assert cli.main(argv) == 0
    assert "LPIPS is not measured; pip install 'hcflow_jax[lpips]'" in capsys.readouterr().err
    assert "lpips" not in _values(Path("without"))["means"]["sr_T0"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere"], "nowhere does not exist"),
        ([""], "HR_DIR is empty"),
        (["photos", "--lr", ""], "--lr is empty"),
        (["photos", "-o", ""], "-o is empty"),
        (["photos", "-o", "photos/b.png/x"], "cannot make the folder photos"),
        (["photos", "-o", "gs://bucket/x"], "gs://bucket/x"),
        (["photos", "--temperatures", "0,3"], "'3' is not a temperature"),
        (["photos", "--samples", "0"], "'0' is not a whole number from 1"),
        (["photos", "--task", "rescaling"], "not rescaling"),
        (["photos", "--scale", "4"], "not sr ×4"),
        (["photos", "--tile", "100"], "a tile of 100 pixels"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, capsys, argv, words):
    assert cli.main(["evaluate", *argv, "--checkpoint", "sr"]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and words in err and out == ""


def test_a_report_of_other_pictures_is_not_replaced_by_default(folder, capsys):
    for name in ("one", "two"):
        _photographs(f"{name}/valid", ["1.png"])
    argv = ["--checkpoint", "sr", "--temperatures", "0"]
    assert cli.main(["evaluate", "one/valid", *argv]) == 0
    assert cli.main(["evaluate", "one/valid", *argv, "--samples", "3"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "two/valid", *argv]) == 2
    err = capsys.readouterr().err
    assert "evaluation/valid holds the report of" in err and "one/valid; name another by -o" in err
    assert cli.main(["evaluate", "two/valid", *argv, "-o", "other"]) == 0


def test_the_report_of_one_picture_is_called_as_it_is(folder, capsys):
    argv = ["evaluate", "photos/b.png", "--checkpoint", "sr", "--temperatures", "0"]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == os.path.join("evaluation", "b", "index.html")
    assert "1 picture, 3 methods (1 of networks), 1 sample: 3 results" in out
    assert "1 sample at most, seed 0" in Path("evaluation/b/results.md").read_text()


def test_results_of_hcflow_are_left_out_and_counted(folder, capsys):
    _photographs("own", ["a.png"], (16, 16))
    for name, command in (("a_x4", "upscale"), ("a_restored", "restore")):
        info = {"hcflow:made_by": command}
        images.write(f"own/{name}.png", np.zeros((16, 16, 3), np.float32), info=info)
    argv = ["evaluate", "own", "--checkpoint", "sr", "--temperatures", "0", "-o", "of_own"]
    assert cli.main(argv) == 2
    left_out, failed, error = capsys.readouterr().err.splitlines()
    assert left_out == "left out: 2 results of hcflow"
    assert failed == "hcflow: 1 of 1 picture failed:" and "own/a.png is 16×16" in error
