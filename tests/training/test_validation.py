"""Validation against figures computed by hand, on images of several sizes and two devices."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from hcflow_jax import devices
from hcflow_jax.images import metrics
from hcflow_jax.images.resize import imresize
from hcflow_jax.training import losses, reporting
from hcflow_jax.training.sections import RescalingLoss, SRLoss
from hcflow_jax.training.validation import Validation, centre_crops
from tests.support import randomized
from tests.tiny import ONE_LEVEL

LOSS = {"sr": SRLoss(), "rescaling": RescalingLoss()}


class Pairs:
    """A source of noise."""

    scale = 2

    def __init__(self, sizes):
        rng = np.random.default_rng(0)
        self._hr = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]

    def __len__(self):
        return len(self._hr)

    def pair(self, index):
        return {"hr": self._hr[index], "lr": imresize(self._hr[index], 0.5)}


def test_crops_are_central_and_aligned():
    source = Pairs([(40, 50), (20, 60)])
    whole, (first, second) = source.pair(0), centre_crops(source, 5, 24)
    np.testing.assert_array_equal(first["hr"], whole["hr"][8:32, 12:36])
    np.testing.assert_array_equal(first["lr"], whole["lr"][4:16, 6:18])
    assert second["hr"].shape == (20, 24, 3)
    assert [p["hr"].shape for p in centre_crops(source, 1, 0)] == [(40, 50, 3)]


@pytest.fixture(scope="module", params=["sr", "rescaling"])
def validated(request):
    """(model, params, pairs, figures, pictures)."""
    model = ONE_LEVEL[request.param]
    shapes = jax.eval_shape(model.init_params, jax.random.key(0))
    params = randomized(shapes, dtype=np.float32)
    pairs = centre_crops(Pairs([(24, 24), (24, 24), (24, 24), (32, 24)]), 4, 0)
    validation = Validation(model, pairs, (0.0, 0.5), samples=2, loss=LOSS[request.param])
    return model, params, pairs, *validation(devices.spread().replicate(params), 0)


def test_figures_at_temperature_0_are_those_of_the_protocol(validated):
    model, params, pairs, figures, pictures = validated
    found = []
    for pair in pairs:
        hr, lr = (pair[k][None].astype(np.float32) / 255 for k in ("hr", "lr"))
        if model.task == "rescaling":
            lr = losses.quantize(np.clip(model.encode(params, hr).lr, 0, 1))
        zeros = [np.zeros(shape, np.float32) for shape in model.latent_shapes(lr.shape)]
        out = metrics.to_uint8(np.asarray(model.decode(params, lr, zeros)[0]))
        found.append(
            (
                metrics.psnr_y(out, pair["hr"], 2),
                metrics.ssim_y(out, pair["hr"], 2),
                metrics.psnr(imresize(out, 0.5), pair["lr"]),
            )
        )
    expected = [figures[name] for name in ("psnr_y@0", "ssim_y@0", "lr_psnr@0")]
    np.testing.assert_allclose(np.mean(found, 0), expected, rtol=1e-3)
    assert pictures["sample@0"].shape == pictures["hr"].shape == (24, 24, 3)


@pytest.mark.slow
def test_jpegs_of_the_small_pictures_are_restored_too():
    """Beside bicubic's at the same qualities, both saved by Pillow here."""
    model = ONE_LEVEL["rescaling"]
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)), dtype=np.float32)
    pairs = centre_crops(Pairs([(48, 40)]), 1, 0)
    loss = RescalingLoss(jpeg_share=0.5)
    validation = Validation(model, pairs, (0.0,), samples=1, loss=loss)
    figures, pictures = validation(devices.spread().replicate(params), 0)
    ((pair, lr),) = [(pair, pictures["lr"]) for pair in pairs]
    for quality in (50, 70, 90):
        saved, bicubic = (_saved(values, quality) for values in (lr, pair["lr"]))
        zeros = [np.zeros(s, np.float32) for s in model.latent_shapes((1, *saved.shape))]
        out = model.decode(params, saved[None].astype(np.float32) / 255, zeros)
        found = metrics.psnr_y(metrics.to_uint8(np.asarray(out[0])), pair["hr"], 2)
        assert figures[f"psnr_y@jpeg {quality}"] == pytest.approx(found, abs=0.02)
        found = metrics.psnr_y(imresize(bicubic, 2), pair["hr"], 2)
        assert figures[f"psnr_y@bicubic, jpeg {quality}"] == pytest.approx(found, abs=0.02)
    lines = list(reporting._table(figures))
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "bicubic",
        "T = 0",
        *(f"bicubic, jpeg {quality}" for quality in (50, 70, 90)),
        *(f"jpeg {quality}" for quality in (50, 70, 90)),
    ]


def _saved(values, quality):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_bicubic_enlargement_stands_beside(validated):
    _, _, pairs, figures, _ = validated
    large = [imresize(pair["lr"], 2) for pair in pairs]
    found = [metrics.psnr_y(x, pair["hr"], 2) for x, pair in zip(large, pairs, strict=True)]
    np.testing.assert_allclose(figures["psnr_y@bicubic"], np.mean(found), rtol=1e-6)


def test_lpips_is_measured_where_it_is_asked_for(validated):
    class Distance:
        def map(self, a, b):
            return np.abs(a.astype(float) - b).mean(-1)

        def __call__(self, a, b):
            return self.map(a, b).mean((1, 2))

    model, params, pairs, figures, _ = validated
    assert not any("lpips" in name for name in figures)
    loss = LOSS[model.task]
    validation = Validation(model, pairs[:1], (0.5,), samples=2, loss=loss, lpips=Distance())
    found, _ = validation(devices.spread().replicate(params), 0)
    assert found["lpips@0.5"] > 0 and found["lpips@bicubic"] > 0
    assert found["space_diversity@0.5"] > 0


def test_every_image_has_noise_of_its_own(validated, monkeypatch):
    """Equal images have different samples, in one group of devices and in two."""
    model, params, pairs, *_ = validated
    seen, complete = [], Validation._complete

    def kept(self, figures, pair, lr, sampled):
        seen.append((figures.get("nll"), sampled["0.5"].tobytes()))
        return complete(self, figures, pair, lr, sampled)

    monkeypatch.setattr(Validation, "_complete", kept)
    validation = Validation(model, pairs[:1] * 3, (0.5,), samples=1, loss=SRLoss())
    validation(devices.spread().replicate(params), 0)
    assert len({sample for _, sample in seen}) == 3
    assert model.task == "rescaling" or len({nll for nll, _ in seen}) == 3


def test_a_fingerprint_tells_what_the_score_depends_on(validated):
    model, _, pairs, *_ = validated
    other = [pairs[0] | {"lr": pairs[0]["lr"] ^ 1}, *pairs[1:]]

    def fingerprint(pairs=pairs, temperatures=(0.0, 0.5), samples=2, seed=0):
        return Validation(model, pairs, temperatures, samples, loss=SRLoss()).fingerprint(seed)

    same = [fingerprint(), fingerprint(temperatures=(0.0, 0.9)), fingerprint(samples=3, seed=1)]
    assert len(set(same)) == 1 and len(same[0]) == 16
    warm = {"temperatures": (0.5,)}
    different = [
        *(fingerprint(), fingerprint(pairs[:3]), fingerprint(other), fingerprint(pairs[::-1])),
        *(fingerprint(**warm), fingerprint(**warm, samples=3), fingerprint(**warm, seed=1)),
    ]
    assert len(set(different)) == 7


def test_a_validation_can_be_ended_between_samples(validated):
    model, params, pairs, *_ = validated
    calls = []

    def poll():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validation = Validation(model, pairs, (0.0, 0.5), samples=2, loss=SRLoss())
        validation(devices.spread().replicate(params), 0, poll)


def test_samples_differ_and_likelihood_belongs_to_super_resolution(validated):
    model, _, _, figures, pictures = validated
    assert figures["diversity@0.5"] > 0 and "diversity@0" not in figures
    assert pictures["spread@0.5"].shape == (24, 24) and "spread@0" not in pictures
    assert ("bits_per_dim" in figures) == (model.task == "sr")
    assert ("lr_psnr_own" in figures) == (model.task == "rescaling")
    assert all(np.isfinite(value) for value in figures.values())


def test_samples_are_scored_without_the_mean_of_published_noise():
    """Blacker by 1/8 they lose detail, and PSNR with it; as an HCFlow+ they stay as they are."""
    model = ONE_LEVEL["sr"]
    params = randomized(jax.eval_shape(model.init_params, jax.random.key(0)), dtype=np.float32)
    pairs = centre_crops(Pairs([(24, 24)]), 1, 0)
    shown = []
    for kind, pixel in (("centred", 0.0), ("published", 0.0), ("published", 1.0)):
        loss = SRLoss(quant=4, dequantization=kind, pixel_weight=pixel)
        validation = Validation(model, pairs, (0.0,), samples=1, loss=loss)
        shown.append(validation(devices.spread().replicate(params), 0)[1]["sample@0"].astype(int))
    kept = (shown[0] > 32) & (shown[0] < 255)
    assert kept.sum() > 100 and np.all(np.abs(shown[0] - shown[1] - 255 / 8)[kept] <= 1)
    np.testing.assert_array_equal(shown[0], shown[2])
