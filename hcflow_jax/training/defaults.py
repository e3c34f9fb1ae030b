"""Every field of a training's config, with the values that the published recipes share."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import ml_collections

PUBLISHED = (
    ("sr_x4", "hcflow"),
    ("sr_x4", "plus"),
    ("sr_x4", "plusplus"),
    ("sr_x8", "hcflow"),
    ("sr_x8", "plus"),
    ("sr_x8", "plusplus"),
    ("rescaling_x4", "hcflow"),
)
"""(file of configs/, variant) of the seven recipes of the paper."""

SIZES = ("tiny", "smoke")


def load(path: str | Path, variant: str) -> ml_collections.ConfigDict:
    """What `--config=PATH:VARIANT` is."""
    spec = spec_from_file_location(Path(path).stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def parse(variant: str, variants: tuple[str, ...]) -> tuple[str, str]:
    """("plus", "tiny") of "plus-tiny"; a size alone is that of variants[0].

    ValueError listing what there is when either part is unknown.
    """
    name, _, size = variant.partition("-")
    if name in SIZES and not size:
        name, size = variants[0], name
    if name not in variants or size not in ("", *SIZES):
        known = [*variants, *SIZES, *(f"{v}-{s}" for v in variants[1:] for s in SIZES)]
        raise ValueError(f"unknown variant {variant!r}; known: {', '.join(known)}")
    return name, size


def _data(config):
    config.data = data = ml_collections.ConfigDict()
    data.path = ""  # a folder of images, or a set made by `hcflow data build`
    data.tfds = ""  # or the name of an installed TFDS data set
    data.split = "train"  # of a TFDS or built data set; slices like train[:90%] too
    data.patch_size = 160
    data.rotate = True
    data.workers = 0  # processes that read ahead; 0 reads in threads

    config.valid = valid = ml_collections.ConfigDict()
    valid.path = ""  # as in data; without either there is no validation
    valid.tfds = ""
    valid.split = ""  # "" is train for a path, validation for TFDS
    valid.count = 16  # the first so many images
    valid.size = 160  # side of their centre crops; 0 for whole images
    valid.every = 5000
    valid.temperatures = (0.0, 0.9)
    valid.samples = 3


def _train(config):
    config.train = train = ml_collections.ConfigDict()
    train.batch_size = 16  # over all devices of all hosts
    train.accumulate = 1  # parts of a batch that a device takes in turn
    train.steps = 300_000
    train.learning_rate = 2.5e-4
    train.schedule = "multistep"  # or "cosine"; what follows are fractions of train.steps
    train.milestones = ()  # multistep: the rate is multiplied by gamma
    train.gamma = 0.5
    train.restarts = ()
    train.restart_weights = ()
    train.periods = (1.0,)  # cosine: one more than restarts
    train.least_rate = 0.0
    train.ema = 0.0  # decay of averaged weights, which then are what --checkpoint loads
    train.seed = 0
    train.log_every = 100
    train.save_every = 5000
    train.keep = 2  # the last so many checkpoints, besides the best one
    train.keep_every = 50_000  # and those of every so many steps
    train.max_skipped = 20  # steps in a row that may be not finite
    train.tensorboard = True
    train.profile = 0  # steps to profile, from the tenth on


def sr() -> ml_collections.ConfigDict:
    """Super-resolution by likelihood alone."""
    config = ml_collections.ConfigDict()
    config.init_from = ""  # a checkpoint to start from
    config.model = model = ml_collections.ConfigDict()
    model.task = "sr"
    model.hidden = 64
    model.conditional_hidden = 64
    model.features = 64
    model.growth = 32
    model.dtype = "float32"
    model.remat = False
    model.reversible = False
    _data(config)
    config.loss = loss = ml_collections.ConfigDict()
    loss.quant = 64
    loss.nll = 1.0
    loss.pixel = 0.0
    loss.pixel_norm = "l1"
    loss.perceptual = 0.0
    loss.perceptual_norm = "l1"
    loss.vgg = ""  # file of VGG19's weights, and how its SHA-256 begins
    loss.vgg_sha256 = "dcbb9e9d"
    loss.gan = 0.0
    loss.gan_type = "gan"  # lsgan, wgan, ragan
    loss.temperature = 0.9
    config.discriminator = discriminator = ml_collections.ConfigDict()
    discriminator.kind = "vgg"  # or "patchgan"
    discriminator.features = 64
    discriminator.layers = 3  # of patchgan
    discriminator.learning_rate = 5e-5
    discriminator.first_steps = 1500  # it learns alone
    _train(config)
    return config


def plus(config: ml_collections.ConfigDict, name: str) -> None:
    """Turns a recipe by likelihood into HCFlow+ ("plus") or HCFlow++ ("plusplus")."""
    config.loss.nll = 2e-3
    config.loss.pixel = 1.0
    config.train.steps = 50_000
    config.train.milestones = (0.4, 0.8)
    config.train.learning_rate = 5e-5
    if name == "plusplus":
        config.loss.perceptual = 0.05
        config.loss.gan = 0.5
        config.train.learning_rate = 1.25e-5


def rescaling() -> ml_collections.ConfigDict:
    """Rescaling."""
    config = ml_collections.ConfigDict()
    config.init_from = ""
    config.model = model = ml_collections.ConfigDict()
    model.task = "rescaling"
    model.squeeze = "haar"
    model.coupling = "shift"
    model.permutation = "none"
    model.net = "dense_block"
    model.dtype = "float32"
    model.remat = False
    model.reversible = False
    _data(config)
    config.valid.temperatures = (0.0, 1.0)
    config.loss = loss = ml_collections.ConfigDict()
    loss.lr = 0.05
    loss.latents = 1e-5
    loss.hr = 1.0
    _train(config)
    return config


def shrink(config: ml_collections.ConfigDict, size: str) -> None:
    """Makes the recipe "tiny" (a network for a CPU) or "smoke" (seconds, to see that it runs)."""
    sr_task = config.model.task == "sr"
    levels = len(config.model.steps)
    model, train = config.model, config.train
    model.blocks = (1, 1)
    if size == "tiny":
        model.steps = (8,) * levels
        model.conditional_steps = (4 if sr_task else 2,) * levels
        model.hidden = 24 if sr_task else 8
        model.conditional_hidden = model.features = 24 if sr_task else 16
        model.growth = 12 if sr_task else 8
        train.batch_size = 8
        train.steps = 9_000 if sr_task else 12_000
        train.learning_rate *= 2
        train.save_every = config.valid.every = 500
        train.keep_every = 5000
        config.data.patch_size = 64 if sr_task else 48
    else:
        model.steps = (2 if sr_task else 3,) * levels
        model.conditional_steps = (1,) * levels
        model.hidden = model.conditional_hidden = model.features = 4
        model.growth = 2
        train.batch_size = 4
        train.steps = 4
        train.log_every = train.save_every = config.valid.every = train.keep_every = 2
        config.data.patch_size = config.valid.size = 32
        config.valid.count = config.valid.samples = 2
    if sr_task:
        config.discriminator.features = 16 if size == "tiny" else 4
        config.discriminator.first_steps = 500 if size == "tiny" else 2
        if size == "smoke":
            config.loss.perceptual = 0.0  # its weights are a download
