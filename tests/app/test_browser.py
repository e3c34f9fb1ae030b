"""The page in a real browser: every flow, wide and narrow, by pointer and by keyboard alone."""

import base64
import re
import shutil
import threading

import numpy as np
import pytest

from hcflow_jax.app import evaluating
from hcflow_jax.app.networks import Networks
from hcflow_jax.errors import UserError
from tests.app.conftest import write_noise
from tests.app.serving import NoNetworks, running

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = pytest.mark.slow
WIDE, NARROW = (1280, 900), (390, 844)
PATIENCE_MS = 60_000
SERIOUS = ("serious", "critical")
api.expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        try:
            browser = playwright.chromium.launch(executable_path=found, args=arguments)
        except api.Error as error:
            pytest.skip(f"no Chromium starts here: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


class Held(Networks):
    """Networks that jobs wait for while `free` is not set."""

    def __init__(self, paths):
        super().__init__(paths)
        self.free = threading.Event()
        self.free.set()

    def get(self, task, jpeg=False, scale=None):
        self.free.wait()
        return super().get(task, jpeg, scale)


@pytest.fixture(scope="module")
def networks(weights):
    return Held(weights.values())


@pytest.fixture(scope="module")
def address(networks, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "photos").mkdir()
    write_noise(root / "photos/1.png", np.random.default_rng(0), (40, 48))
    with running(networks, root=root) as (_, port):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    write_noise(path, np.random.default_rng(1), (60, 80))
    return path


def is_wrong(line):
    """Whether a line of the console tells of an error, other than of a request that was refused."""
    return line.type == "error" and "status of 400" not in line.text


@pytest.fixture(params=[WIDE, NARROW], ids=["wide", "narrow"])
def page(browser, address, networks, request):
    """The page, ready; in the end, that it told of no error, and asked no other host."""
    networks.free.set()
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), request.param, strict=True))
    )
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", lambda line: wrong.append(line.text) if is_wrong(line) else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda r: wrong.append(r.url) if "/events" not in r.url else None)
    page.on(
        "request", lambda r: r.url.startswith((address, "blob:", "data:")) or wrong.append(r.url)
    )
    page.goto(address)
    api.expect(page.get_by_role("status").first).to_have_text(re.compile("^Ready"))
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= request.param[0]
    context.close()
    assert not wrong


def take(page, photo):
    page.set_input_files("#file", photo)
    api.expect(page.locator("#about")).to_contain_text("80 × 60 pixels")


def accessible(page):
    found = axe.Axe().run(page).response["violations"]
    assert not [(v["id"], v["nodes"]) for v in found if v["impact"] in SERIOUS]


def saved(page, name):
    """The file that a link saves: (its name, its bytes)."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name).locator("visible=true").click()
    return waiting.value.suggested_filename, waiting.value.path().read_bytes()


def loaded(page, selector, count):
    """Sizes of the pictures there, when `count` are seen: one that is still read has no size."""
    images = page.locator(f"{selector} >> visible=true")
    api.expect(images).to_have_count(count)
    for image in images.all():
        api.expect(image).to_have_js_property("complete", True)
    return [
        image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
        for image in images.all()
    ]


def test_upscaling(page, photo):
    accessible(page)
    take(page, photo)
    page.fill("#upscale [name=samples]", "2")
    page.get_by_role("button", name="Upscale").click()
    page.wait_for_selector("#upscale .shown")
    assert loaded(page, "#upscale .sheet img", 2) == [[160, 120]] * 2
    views = page.locator("#upscale .views button")
    assert views.all_inner_texts() == ["sample 1", "sample 2", "spread"]
    views.nth(1).click()
    assert saved(page, "Save PNG")[0] == "photo_x2_2.png"
    name, data = saved(page, "Save JPEG")
    assert name == "photo_x2_2.jpg" and data[:2] == b"\xff\xd8"
    box = page.locator("#upscale .sheet").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20, steps=3)
    page.mouse.up()
    assert 24 <= float(page.locator("#upscale .compare input").input_value()) <= 26
    api.expect(page.locator("#upscale [data-facts]")).to_contain_text("photo.png: 80 × 60 →")
    accessible(page)
    the_divider_is_where_the_pictures_meet_in_true_size(page)
    page.get_by_role("button", name="Sample: eye").click()
    api.expect(page.locator("#upscale .whose")).to_have_text(
        "Of photo.png, not of the chosen picture."
    )


def the_divider_is_where_the_pictures_meet_in_true_size(page):
    """With pictures that are wider than their pane."""
    page.evaluate(
        """async () => {
            const wide = Object.assign(document.createElement("canvas"), {width: 2000, height: 40});
            const images = [...document.querySelectorAll("#upscale .sheet img")];
            for (const image of images) image.src = wide.toDataURL();
            await Promise.all(images.map((image) => image.decode()));
        }"""
    )
    for pressed, width in (("false", None), ("true", 2000)):
        button = page.get_by_role("button", name="True size")
        if button.get_attribute("aria-pressed") != pressed:
            button.click()
        over, under, line = (
            page.locator(f"#upscale .sheet {part}").bounding_box()
            for part in ("img:not(.under)", "img.under", ".line")
        )
        assert over == pytest.approx(under, abs=1)
        assert width is None or over["width"] == width
        clip = page.locator("#upscale .under").evaluate("image => image.style.clipPath")
        kept = 1 - float(re.match(r"inset\(0(?:px)? ([\d.]+)%", clip)[1]) / 100
        found = line["x"] + line["width"] / 2
        assert found == pytest.approx(under["x"] + kept * under["width"], abs=0.6)


def test_upscaling_by_the_keyboard_alone(page):
    def to(name):
        for _ in range(30):
            page.keyboard.press("Tab")
            if (
                page.evaluate("document.activeElement.textContent || document.activeElement.name")
                == name
            ):
                return
        raise AssertionError(f"{name} is not reached")

    to("Sample: eye")
    page.keyboard.press("Enter")
    api.expect(page.locator("#about")).to_contain_text("128 × 128")
    to("Upscale")  # the tab
    to("temperature")
    page.keyboard.press("ArrowRight")
    to("Upscale")
    page.keyboard.press("Enter")
    page.wait_for_selector("#upscale .shown")
    api.expect(page.locator("#upscale [data-facts]")).to_contain_text("256 × 256 pixels")
    page.locator("#upscale .compare input").focus()
    page.keyboard.press("End")
    assert page.locator("#upscale .compare input").input_value() == "100"
    page.locator("#tab-upscale").focus()
    for name in ("Explore", "Shrink and restore", "Evaluate", "Upscale"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.textContent") == name


def test_cancelling(page, photo, networks):
    take(page, photo)
    networks.free.clear()
    page.get_by_role("button", name="Upscale").click()
    take(page, photo)  # another picture lets nobody start a second job
    assert page.locator("#upscale .main").is_disabled()
    with page.expect_response("**/jobs/*"):
        page.get_by_role("button", name="Cancel").click()
    api.expect(page.locator("#upscale .job")).to_contain_text("Cancelling after this step…")
    networks.free.set()
    api.expect(page.locator("#upscale .job")).to_have_text("Cancelled.")
    assert page.get_by_role("button", name="Upscale").is_enabled()


def drawn(page, photo):
    """The list of states of the tab Explore, where one is drawn."""
    take(page, photo)
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("button", name="Draw the picture").click()
    states = page.locator(".history li")
    api.expect(states).to_have_count(1)
    return states


def test_exploring(page, photo):
    states = drawn(page, photo)
    canvas = page.locator("#explore canvas")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 60, steps=3)
    page.mouse.up()
    assert [page.locator(f"#explore [name={n}]").input_value() for n in "xywh"] == [
        "10",
        "20",
        "40",
        "40",
    ]
    page.fill("#explore [name=x]", "-1")
    page.get_by_role("button", name="Redraw the region").click()  # the browser says what is wrong
    page.fill("#explore [name=x]", "12")
    page.locator("#explore [name=x]").press("Enter")
    api.expect(states).to_have_count(2)
    box = page.locator("#explore form[data-form=region] .job").bounding_box()
    assert box["y"] + box["height"] <= page.viewport_size["height"]  # seen from its button
    page.get_by_role("button", name="New fine detail, same structure").click()
    api.expect(states).to_have_count(3)
    assert page.get_by_role("button", name="New structure").is_disabled()  # with one level
    page.locator("#explore [name=weight]").focus()
    for key in ("End", "Home", "ArrowRight"):  # while the first is drawn, the last is remembered
        page.keyboard.press(key)
    api.expect(states.last).to_have_text("0 to 1, 0.05")
    page.fill("#explore [name=from]", "3")
    page.locator("#explore [name=from]").blur()
    api.expect(states.last).to_have_text("3 to 1, 0.05")
    labels = states.all_inner_texts()
    assert labels[:3] == ["seed 0", "new region", "new fine detail"]
    accessible(page)


def test_painting_and_returning_to_states(page, photo):
    states = drawn(page, photo)
    page.get_by_label("Paint where").check()
    page.locator("#explore canvas").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    refusal = {"status": 400, "json": {"error": "no room"}}
    page.route("**/pictures", lambda route: route.fulfill(**refusal))
    page.get_by_role("button", name="Draw with these temperatures").click()
    failed = page.locator("form[data-form=paint] .error")
    api.expect(failed).to_have_text("no room")
    page.unroute("**/pictures")
    page.get_by_role("button", name="Draw with these temperatures").click()
    api.expect(states).to_have_text(["seed 0", "painted"])
    shown = page.locator("#explore .canvas img")
    last = shown.get_attribute("src")
    page.get_by_role("button", name="Show the state before").click()
    assert shown.get_attribute("src") != last
    page.get_by_role("button", name="Undo").click()
    api.expect(page.locator("#explore [data-facts]")).to_contain_text("photo.png: seed 0")
    assert loaded(page, ".history img", 2) == [[160, 120]] * 2
    accessible(page)
    temperature = page.locator("#explore [name=temperature]")
    temperature.focus()
    temperature.press("Home")
    page.get_by_role("button", name="Draw the picture").click()  # of the others none goes
    api.expect(states.last).to_have_text("seed 0 (2)")
    assert page.locator("#explore [name=fine]").is_disabled()
    api.expect(page.locator("#explore [data-still] >> visible=true").first).to_contain_text(
        "higher"
    )


def test_shrinking_and_restoring(page, photo, tmp_path):
    take(page, photo)
    page.get_by_role("tab", name="Shrink and restore").click()
    page.locator("#shrink [name=shrink]").click()
    page.wait_for_selector("#shrink .shown")
    assert loaded(page, "#shrink .small img", 1) == [[40, 30]]
    assert page.locator("#shrink .small img").bounding_box()["width"] == 40
    page.get_by_role("button", name="restored and error map").click()
    assert loaded(page, "#shrink .sheet img", 2) == [[80, 60]] * 2
    assert page.locator("#shrink td").all_inner_texts()[2].endswith(" dB")
    accessible(page)
    page.locator("#shrink [name=format]").select_option("jpg")
    page.locator("#shrink [name=refine]").select_option("5")
    page.locator("#shrink [name=shrink]").click()
    name, data = saved(page, "Save small JPEG")
    (tmp_path / name).write_bytes(data)
    page.set_input_files("#file", tmp_path / name)
    api.expect(page.locator("#about")).to_contain_text("photo_lr.jpg: 40 × 30")
    assert page.locator("#shrink .main").inner_text() == "Restore this small picture"
    assert page.locator("#shrink .whose").inner_text() == "Of photo.png, not of the chosen picture."
    page.get_by_role("button", name="Restore this small picture").click()
    api.expect(page.locator("#shrink .names")).to_have_text("bicubicrestored")


def test_evaluating(page, address, monkeypatch):
    table = {"columns": ["", "PSNR-Y"], "rows": [["bicubic", "20.12"], ["T = 0", "21.30"]]}
    done = evaluating.evaluate
    monkeypatch.setattr(evaluating, "evaluate", lambda *given: done(*given) | {"table": table})
    page.get_by_role("tab", name="Evaluate").click()
    temperatures = page.locator("#evaluate [name=temperatures]")
    for typed, said in [
        ("0,5", "“5” is not"),
        ("0.5,", "a comma too many"),
        ("abc", "“abc” is not"),
    ]:
        temperatures.fill(typed)
        page.locator("#evaluate button").click()
        assert said in temperatures.evaluate("input => input.validationMessage")
    temperatures.fill("0")
    page.locator("#evaluate button").click()
    page.wait_for_selector("#evaluate .shown")
    assert page.locator("#evaluate tr").all_inner_texts() == [
        "\tPSNR-Y",
        "bicubic\t20.12",
        "T = 0\t21.30",
    ]
    accessible(page)
    with page.expect_popup() as waiting:
        page.get_by_role("link", name="Open the report").click()
    report = waiting.value
    report.wait_for_load_state()
    assert report.title() == "photos, ×2"
    assert report.evaluate("self.origin") == "null"  # it is no part of the app
    report.close()


def test_what_is_no_picture_is_told_beside_the_button(page, photo):
    no_picture = {"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#file", no_picture)
    api.expect(page.locator("#refused")).to_contain_text("is not an image of a known format")
    take(page, photo)
    api.expect(page.locator("#refused")).to_be_empty()
    page.set_input_files("#file", no_picture)
    api.expect(page.locator("#about")).to_contain_text("photo.png: 80 × 60 pixels")
    drop(page, "transfer.setData('text/uri-list', 'http://127.0.0.1/')")
    api.expect(page.locator("#refused")).to_contain_text("a link or text, not a file")
    data = base64.b64encode(photo.read_bytes()).decode()
    drop(
        page,
        f"""const data = Uint8Array.from(atob("{data}"), (one) => one.charCodeAt(0));
        transfer.items.add(new File([data], ".png", {{type: "image/png"}}))""",
    )
    api.expect(page.locator("#about")).to_contain_text(".png: 80 × 60 pixels")


def drop(page, filling):
    """Lets go of something over the heading."""
    page.locator("h1").evaluate(
        f"""(heading) => {{
            const transfer = new DataTransfer();
            {filling};
            const options = {{dataTransfer: transfer, bubbles: true, cancelable: true}};
            heading.dispatchEvent(new DragEvent("drop", options));
        }}"""
    )


def test_of_two_pictures_the_last_is_chosen(page, photo):
    """However long the first one takes."""
    sent = []
    page.route("**/pictures", lambda route: sent.append(route))
    for name in ("slow.png", "quick.png"):
        with page.expect_request("**/pictures"):
            file = {"name": name, "mimeType": "image/png", "buffer": photo.read_bytes()}
            page.set_input_files("#file", file)
    while len(sent) < 2:
        page.wait_for_timeout(20)
    for route in reversed(sent):
        with page.expect_response("**/pictures"):
            route.continue_()
        page.evaluate("fetch('/static/icon.svg').then(() => null)")  # by then it has the answer
        api.expect(page.locator("#about")).to_contain_text("quick.png: 80 × 60 pixels")


class NeverDone(NoNetworks):
    """Those with which no job ends."""

    def __init__(self):
        self.given_up = threading.Event()

    def get(self, task, jpeg=False, scale=None):
        self.given_up.wait()
        raise UserError("given up")


def test_the_page_notices_what_becomes_of_the_app(browser, photo):
    context, networks = browser.new_context(), NeverDone()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.clock.install()
    status, job = page.get_by_role("status").first, page.locator("#upscale .job")
    with running(networks, max_pixels=20_000) as (_, port):
        asked = []
        page.route("**/api/sessions", lambda route: asked.append(route))
        page.goto(f"http://127.0.0.1:{port}/")
        while not asked:
            page.wait_for_timeout(20)
        for place in ("#file", "[data-sample=eye]"):
            api.expect(page.locator(place)).to_be_disabled()  # there is nobody to send it to yet
        asked[0].continue_()
        api.expect(status).to_have_text(re.compile("^Ready"))
        take(page, photo)
        api.expect(page.locator("#large")).to_contain_text("Upscale takes it up to ×2")
        page.locator("#upscale [name=scale]").press("ArrowLeft")
        page.get_by_role("button", name="Upscale").click()
        with page.expect_event("requestfailed", lambda request: "/events" in request.url):
            set_hidden(page, True)
        with page.expect_response("**/events") as waiting:
            set_hidden(page, False)
        assert waiting.value.ok
        page.get_by_role("button", name="Sample: eye").click()
        api.expect(page.locator("#about")).to_contain_text("128 × 128")
        assert page.locator("#upscale [name=scale]").input_value() == "3.5"  # nothing is set back
        page.get_by_role("button", name="Cancel").click()
        api.expect(job).to_contain_text("Cancelling after this step…")
    networks.given_up.set()
    for _ in range(100):  # until the browser has noticed, when the page begins to wait
        page.clock.fast_forward(5000)
        if "has ended" in status.inner_text():
            break
        page.wait_for_timeout(50)
    api.expect(status).to_contain_text("The app has ended")
    api.expect(job).to_contain_text("the app has ended")
    context.close()


def set_hidden(page, hidden):
    """As where another tab is looked at, or this one again."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )
