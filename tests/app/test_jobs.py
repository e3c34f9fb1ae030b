"""What the app makes of pictures is what the commands make of them."""

import dataclasses
import io
import json
import math
import threading

import numpy as np
import pytest
from PIL import Image

from hcflow_jax import cli, images, sampling
from hcflow_jax.app import results, sessions
from hcflow_jax.app.networks import Networks
from hcflow_jax.images import metrics, scratch
from hcflow_jax.images.resize import imresize
from hcflow_jax.sampling import checking, pictures
from tests import tiny
from tests.app.conftest import write_noise
from tests.app.serving import NoNetworks, Page, ask, eventually, running
from tests.sampling import test_checking


@pytest.fixture
def page(served, monkeypatch):
    monkeypatch.setattr(checking, "LIMIT", math.inf)  # what random weights sample strays
    with Page(served[1]) as page:
        yield page


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture of which parts are far from one another."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    write_noise(path, np.random.default_rng(1), (100, 110))
    return path


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("scale, temperature", [(2, 0), (1.5, 0.5)])
def test_upscaling_is_that_of_the_command(page, photo, weights, tmp_path, scale, temperature):
    sent = page.send(photo.read_bytes())
    assert (sent["width"], sent["height"], sent["kind"]) == (110, 100, "PNG")
    asked = {"scale": scale, "temperature": temperature, "seed": 3}
    result = page.result(kind="upscale", picture=sent["picture"], **asked)
    options = ["--scale", str(scale), "-t", str(temperature), "-s", "3"]
    argv = ["upscale", str(photo), *options, "--checkpoint", weights["sr"], "-o"]
    assert cli.main([*argv, str(tmp_path / "a.png")]) == 0
    assert cli.main([*argv, str(tmp_path / "a.jpg")]) == 0
    (name,) = result["samples"]
    assert page.file(name) == (tmp_path / "a.png").read_bytes()
    assert page.file(name, "?as=jpg") == (tmp_path / "a.jpg").read_bytes()
    assert (result["width"], result["height"]) == (110 * scale, 100 * scale)
    assert page.ready == {"sr": {"scale": 2, "levels": 1, "most": 2}}


def test_results_are_judged_by_the_size_that_is_written(page, photo, served, monkeypatch):
    """What is computed on the way has 44,000 pixels for each sample."""
    place, sent = served[0]._place, page.send(photo.read_bytes())["picture"]
    try:
        object.__setattr__(place, "max_pixels", 24_750)  # of ×1.5
        asked = {"kind": "upscale", "picture": sent, "temperature": 1}
        assert page.result(scale=1.5, **asked)["width"] == 165
        remedies = [page.do(scale=scale, **asked)["error"] for scale in (1.51, 2)]
        several = page.do(scale=1.5, samples=2, **asked)["error"]
        many = page.do(scale=1, samples=3, **asked)["error"]
    finally:
        object.__setattr__(place, "max_pixels", 100_000_000)
    assert all("take a scale up to 1.5 or a smaller picture" in line for line in remedies)
    assert "take a scale up to 1.06 or fewer samples" in several
    assert "; take fewer samples, or start the app with a larger --max-pixels" in many


def test_what_is_computed_on_the_way_needs_room(page, photo, monkeypatch):
    sent = page.send(photo.read_bytes())["picture"]
    monkeypatch.setattr(scratch, "HELD", 1000)
    asked = {"kind": "upscale", "picture": sent, "temperature": 1}
    room = scratch.shutil.disk_usage("/")._replace(free=300_000)  # of a sample, not of two
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: room)
    assert page.result(scale=1, **asked)
    assert page.do(scale=1, samples=2, **asked)["error"] == sessions.NO_ROOM
    monkeypatch.setattr(results, "check_room", lambda *_: None)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda path: room._replace(free=0))
    assert page.do(scale=1, **asked)["error"] == sessions.NO_ROOM


def test_sides_beyond_jpeg_are_not_offered_as_one():
    for size, jpeg in (((8, 65_500), True), ((65_501, 8), False)):
        picture = images.Picture(np.zeros((1, 1, 3), np.uint8), None, False, {})
        assert results.has_jpeg(picture, size) is jpeg
    assert not results.has_jpeg(dataclasses.replace(picture, alpha=np.ones((1, 1))), (8, 8))


def test_samples_have_a_spread(page, photo):
    sent = page.send(photo.read_bytes())["picture"]
    result = page.result(kind="upscale", picture=sent, scale=2, temperature=1, samples=3)
    samples = [pixels(page.file(name)) for name in result["samples"]]
    spread = metrics.deviation(samples).mean(-1)
    shown = pixels(page.file(result["spread"]["name"]))
    assert len(samples) == 3 and spread.max() > 1
    expected = np.clip(255 * spread / result["spread"]["white"], 0, 255)
    assert np.abs(shown - expected).max() <= 0.51
    bicubic = pixels(page.file(result["bicubic"]))
    small = images.read(photo).rgb
    assert np.array_equal(bicubic, metrics.to_uint8(imresize(small, size=(200, 220))))


def test_a_part_drawn_anew_leaves_the_rest_as_it_was(page, photo):
    sent = page.send(photo.read_bytes())["picture"]
    drawn = page.result(kind="draw", picture=sent, temperature=1, seed=2)
    regions = [(0, 0, 9, 8), (180, 150, 20, 40), (40, 0, 8, 8)]
    states = [drawn["state"]]
    for index, region in enumerate(regions, 1):
        asked = {"state": states[-1], "region": region, "index": index}
        states.append(page.result(kind="redraw", **asked)["state"])
    before, once, twice, thrice = (pixels(page.file(name)) for name in states)
    assert (before[:8, :9] != once[:8, :9]).any()
    assert np.array_equal(before[72:], once[72:]) and np.array_equal(before[:, 74:], once[:, 74:])
    assert (once[150:190, 180:200] != twice[150:190, 180:200]).any()
    assert np.array_equal(twice[:8, :9], thrice[:8, :9])  # near the third, whose halo it is in
    assert np.array_equal(once[:86], twice[:86]) and np.array_equal(once[:, :116], twice[:, :116])


def test_what_was_drawn_colder_stays_as_it_was_too(page, monkeypatch):
    """A part whose sample strays is drawn colder inside it alone; as a whole it would be around."""
    monkeypatch.undo()  # what strays is drawn again
    monkeypatch.setattr(pictures, "_sample_windows", test_checking._sampler)
    monkeypatch.setattr(test_checking, "FICKLE", 191 / 255)
    picture = np.full((128, 128, 3), 128, np.uint8)
    picture[60:72, 60:72, 0] = 191
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    sent = page.send(file.getvalue())["picture"]
    states = [page.result(kind="draw", picture=sent, temperature=1)["state"]]
    for index, region in enumerate([(120, 120, 24, 24), (0, 0, 8, 8)], 1):
        asked = {"state": states[-1], "region": region, "index": index}
        states.append(page.result(kind="redraw", **asked)["state"])
    before, once, twice = (pixels(page.file(name)) for name in states)
    assert (before[120:144, 120:144] != once[120:144, 120:144]).any()
    assert np.array_equal(once[104:], twice[104:])  # 96 pixels from the region
    assert np.array_equal(once[:, 104:], twice[:, 104:])


def test_a_part_drawn_anew_is_that_of_the_command(page, photo, weights, tmp_path):
    sent = page.send(photo.read_bytes())["picture"]
    drawn = page.result(kind="draw", picture=sent, temperature=0.5)
    new = page.result(kind="redraw", state=drawn["state"], region=[40, 30, 20, 20], index=2)
    options = ["-t", "0.5", "--region", "40,30,20,20", "--region-seed", "2"]
    argv = ["upscale", str(photo), "-o", str(tmp_path / "a.png"), *options]
    assert cli.main([*argv, "--checkpoint", weights["sr"]]) == 0
    assert page.file(new["state"]) == (tmp_path / "a.png").read_bytes()


def test_between_samples_stand_the_samples(page, photo):
    sent = page.send(photo.read_bytes())["picture"]

    def drawn(**asked):
        job = {"kind": "draw", "picture": sent, "temperature": 1, **asked}
        return page.file(page.result(**job)["state"])

    both = page.result(kind="upscale", picture=sent, scale=2, temperature=1, samples=2)
    first, second = (pixels(page.file(name)) for name in both["samples"])
    ends = [pixels(drawn(between=[0, 1], weight=weight)) for weight in (0, 1)]
    assert np.array_equal(ends[0], first) and np.array_equal(ends[1], second)
    middle = pixels(drawn(between=[0, 1], weight=0.5))
    assert (middle != first).any() and (middle != second).any()


def test_a_painted_temperature_holds_where_it_is_painted(page, photo):
    sent = page.send(photo.read_bytes())["picture"]
    mask = Image.new("L", (110, 100))
    mask.paste(255, (0, 0, 10, 10))
    file = io.BytesIO()
    mask.save(file, "PNG")
    brush = page.send(file.getvalue())["picture"]
    drawn = {"kind": "draw", "picture": sent, "seed": 3}
    cold, hot = (page.result(temperature=heat, **drawn)["state"] for heat in (0, 1))
    names = [cold, hot]
    new = page.result(kind="redraw", state=hot, region=[0, 0, 8, 8], index=1)["state"]
    for state in (hot, new):
        painted = page.result(kind="paint", state=state, temperature=1, brush=brush)
        names.append(painted["state"])
    cold, hot, painted, renewed = (pixels(page.file(name)) for name in names)
    assert np.array_equal(painted[120:], cold[120:]) and (hot[120:] != cold[120:]).any()
    assert (painted[:16, :16] != cold[:16, :16]).any()
    assert (renewed[:8, :8] != painted[:8, :8]).any()  # what was drawn anew stays so


def test_levels_are_drawn_anew_one_by_one(page, served, photo, monkeypatch):
    """Of a state the other level, regions, temperature and seed stay, whatever was asked before."""
    drawn = []

    def sample(lr, noise, temperature, seed):
        drawn.append((noise, temperature, seed))
        return iter([sampling.Sample(np.zeros((4 * lr.shape[0], 4 * lr.shape[1], 3), np.uint8))])

    def sample_all(model, params, pictures, temperature, seed, **_):
        return sample(*pictures[0], temperature, seed)

    def resample_all(model, params, lr, temperature, region, indices, of, seed, **_):
        return sample(lr, of, temperature, seed)

    monkeypatch.setattr(served[0]._place.networks, "get", lambda task: (tiny.SR, None))
    monkeypatch.setattr(sampling, "sample_all", sample_all)
    monkeypatch.setattr(sampling, "resample_all", resample_all)
    sent = page.send(photo.read_bytes())["picture"]
    state = page.result(kind="draw", picture=sent, temperature=0.7, seed=5)["state"]
    steps = [
        {"kind": "relevel", "level": "coarse", "index": 2},
        {"kind": "redraw", "region": [0, 0, 40, 32], "index": 4},
        {"kind": "relevel", "level": "fine", "index": 3},
        {"kind": "relevel", "level": "coarse", "index": 6},
    ]
    for step in steps:
        state = page.result(state=state, **step)["state"]

    def samples(noise, y, x):
        """Those from which the levels there are, finest first."""
        mix = np.broadcast_to(noise.mix, (100, 110, len(noise.indices), 2))[y, x]
        assert set(mix.ravel()) <= {0, 1}
        return [noise.indices[k] for k in mix.argmax(0)]

    inside = [samples(noise, 7, 9) for noise, *_ in drawn]
    outside = [samples(noise, 8, 9) for noise, *_ in drawn]
    assert inside == [[0, 0], [0, 2], [0, 2], [3, 4], [3, 6]]  # the third: before it is drawn anew
    assert outside == [[0, 0], [0, 2], [0, 2], [3, 2], [3, 6]]
    assert {tuple(others) for _, *others in drawn} == {(0.7, 5)}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "refine"), [("png", 0), ("jpg", 0), ("png", 2), ("jpg", 2)])
def test_what_is_shrunk_is_restored_as_the_command_does(
    page, photo, weights, tmp_path, kind, refine
):
    sent = page.send(photo.read_bytes())
    job = page.do(kind="shrink", picture=sent["picture"], format=kind, refine=refine)
    assert (job["state"], job["done"], job["total"]) == ("done", 2 + refine, 2 + refine), job
    result, checkpoint = job["result"], ["--checkpoint", weights["rescaling"]]
    small = tmp_path / f"small.{kind}"
    steps = [*checkpoint, "--refine", str(refine)]
    assert cli.main(["downscale", str(photo), "-o", str(small), *steps]) == 0
    assert page.file(result["small"]) == small.read_bytes()
    assert cli.main(["restore", str(small), "-o", str(tmp_path / "again.png"), *checkpoint]) == 0
    again = pixels((tmp_path / "again.png").read_bytes())
    assert np.array_equal(pixels(page.file(result["restored"])), again)
    original = pixels(photo.read_bytes())
    assert result["psnr"] == pytest.approx(metrics.psnr(original, again))
    assert result["bytes"] == {"original": sent["bytes"], "small": small.stat().st_size}
    error = np.abs(original.astype(int) - again).mean(-1)
    shown = pixels(page.file(result["error"]["name"]))
    assert np.abs(shown - np.clip(255 * error / result["error"]["white"], 0, 255)).max() <= 0.51
    sent = page.send(small.read_bytes())
    assert sent["small"]
    restored = page.result(kind="restore", picture=sent["picture"])
    assert np.array_equal(pixels(page.file(restored["restored"])), again)
    assert not restored["notes"]


def test_small_jpegs_have_weights_of_their_own(monkeypatch):
    loads = []
    monkeypatch.setattr(sampling, "load", lambda *given, **named: loads.append((given, named)))
    shipped = Networks()
    for jpeg in (True, False, True):
        shipped.get("rescaling", jpeg)
    assert loads == [((None, "rescaling", 4), {"jpeg": jpeg}) for jpeg in (True, False)]


def test_the_smallest_shipped_network_that_gives_the_scale_is_taken(monkeypatch):
    monkeypatch.setattr(sampling, "load", lambda path, task, scale, jpeg: (task, scale, jpeg))
    shipped = Networks()
    assert [shipped.get("sr", scale=scale)[1] for scale in (1, 2, 2.5, 4, None)] == [2, 2, 4, 4, 4]
    assert shipped.get("rescaling", True, 2) == ("rescaling", 2, False)  # no ×2 for JPEGs ships


def test_a_small_png_that_was_saved_as_jpeg_is_told_about(page):
    file, said = io.BytesIO(), b"hcflow:size=48x40\nhcflow:weights=png"
    Image.new("RGB", (24, 20), "teal").save(file, "JPEG", comment=said)
    sent = page.send(file.getvalue())
    assert sent["small"]
    result = page.result(kind="restore", picture=sent["picture"])
    assert "saved again as JPEG" in result["notes"][0]
    for wrong, words in (({"format": "gif"}, "neither png nor jpg"), ({"refine": 21}, "0 to 20")):
        refused = page.start(kind="shrink", picture=sent["picture"], expect=400, **wrong)
        assert words in refused["error"]


def test_other_pictures_are_restored_with_a_warning(page, photo):
    sent = page.send(photo.read_bytes())
    assert not sent["small"]
    result = page.result(kind="restore", picture=sent["picture"])
    assert "false" in result["notes"][0] and (result["width"], result["height"]) == (220, 200)


def test_transparency_and_greys_stay(page, tmp_path):
    rng = np.random.default_rng(2)
    write_noise(tmp_path / "a.png", rng, (20, 24), channels=4)
    Image.fromarray(rng.integers(0, 256, (20, 24), dtype=np.uint8)).save(tmp_path / "b.png")
    for name, mode, jpeg in (("a", "RGBA", False), ("b", "L", True)):
        sent = page.send((tmp_path / f"{name}.png").read_bytes())["picture"]
        upscaled = page.result(kind="upscale", picture=sent, scale=2)
        drawn = page.result(kind="draw", picture=sent, temperature=1)
        new = page.result(kind="redraw", state=drawn["state"], region=[0, 0, 4, 4], index=1)
        shrunk = page.result(kind="shrink", picture=sent)
        names = [upscaled["samples"][0], upscaled["bicubic"], drawn["state"], new["state"]]
        names += [shrunk["restored"], shrunk["original"]]
        assert [Image.open(io.BytesIO(page.file(n))).mode for n in names] == [mode] * 6
        assert {found["jpeg"] for found in (upscaled, drawn, new, shrunk)} == {jpeg}
        status, _, data = ask(page.port, "GET", f"{page.address}/files/{names[0]}?as=jpg")
        assert status == (200 if jpeg else 400), data


def test_a_folder_is_evaluated_and_its_report_is_a_page_of_its_own(page, served):
    assert page.opened["folders"] == ["photos"]
    done = page.do(kind="evaluate", folder="photos", temperatures=[0, 0.5], samples=2)
    assert done["state"] == "done", done
    assert (done["done"], done["total"]) == (10, 10)
    table = done["result"]["table"]
    assert [row[0] for row in table["rows"]] == ["bicubic", "Lanczos", "sr, T = 0", "sr, T = 0.5"]
    assert table["columns"][:2] == ["", "PSNR-Y ↑"]
    assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    address = f"{page.address}/files/{done['result']['report']}"
    status, headers, body = ask(page.port, "GET", address)
    assert status == 200 and b"<title>photos" in body and headers["content-type"][:9] == "text/html"
    policy = headers["content-security-policy"]
    assert "sandbox allow-scripts;" in policy and "allow-same-origin" not in policy
    assert sorted(path.name for path in served[2].iterdir()) == ["empty", "photos"]


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"kind": "evaluate", "folder": "../photos"}, "below the root"),
        ({"kind": "evaluate", "folder": "empty"}, "holds no images"),
        ({"kind": "upscale", "scale": 3}, "more than the network's ×2"),
        ({"kind": "upscale", "scale": 2, "temperature": 1, "samples": 16}, "take fewer samples"),
        ({"kind": "redraw", "region": [0, 0, 1, 1]}, "draw the picture first"),
        ({"kind": "relevel", "level": "fine"}, "draw the picture first"),
    ],
)
def test_what_cannot_be_done_is_one_line(page, photo, monkeypatch, asked, words, served):
    place = served[0]._place
    object.__setattr__(place, "max_pixels", 100_000)
    try:
        name = page.send(photo.read_bytes())["picture"]
        done = page.do(picture=name, state=name, **asked)
    finally:
        object.__setattr__(place, "max_pixels", 100_000_000)
    assert done["state"] == "failed" and words in done["error"] and "\n" not in done["error"]


def test_a_region_outside_is_refused(page, photo):
    name = page.send(photo.read_bytes())["picture"]
    state = page.result(kind="draw", picture=name, temperature=1)["state"]
    done = page.do(kind="redraw", state=state, region=[0, 0, 221, 1], index=1)
    assert "is not inside the result" in done["error"]


@pytest.mark.parametrize(
    "level, temperature, words", [("fine", 0, "0"), ("coarse", 1, "one level")]
)
def test_levels_without_variation_are_refused(page, photo, level, temperature, words):
    name = page.send(photo.read_bytes())["picture"]
    state = page.result(kind="draw", picture=name, temperature=temperature)["state"]
    done = page.do(kind="relevel", state=state, level=level, index=1)
    assert done["state"] == "failed" and words in done["error"]


def test_samples_ship_with_the_app(page):
    sizes = {}
    for name in page.opened["samples"]:
        status, _, body = ask(page.port, "POST", f"{page.address}/samples/{name}")
        sizes[name] = [json.loads(body)[side] for side in ("width", "height")]
        assert status == 200
    assert sizes == {"eye": [128, 128], "cat": [400, 300]}
    assert ask(page.port, "POST", f"{page.address}/samples/dog")[0] == 404


def test_memory_is_given_back_after_every_job(photo):
    calls = []
    settings = {"after": lambda: calls.append(threading.current_thread().name)}
    with running(NoNetworks(), **settings) as (_, port), Page(port) as page:
        eventually(lambda: len(calls) == 1)  # after the first job, which loads the networks
        sent = page.send(photo.read_bytes())["picture"]
        assert page.do(kind="upscale", picture=sent)["state"] == "failed"
        eventually(lambda: len(calls) == 2)
    assert set(calls) == {"hcflow jobs"}
