"""The sections of a training's configuration: fields, defaults, checks and help texts."""

import dataclasses

from hcflow_jax import devices
from hcflow_jax.fields import field
from hcflow_jax.model import dequantization
from hcflow_jax.training import losses

NORMS = ("l1", "l2")


@dataclasses.dataclass(frozen=True)
class Data:
    """Training images and how patches are cut from them."""

    path: str = field("", "a folder of images, or a set made by `hcflow data build`", free=True)
    recursive: bool = field(False, "take the images in folders of the folder too", free=True)
    tfds: str = field("", "or the name of an installed TFDS data set", free=True)
    split: str = field("train", "of a TFDS or built set, slices such as train[:90%] too", free=True)
    patch_size: int = field(160, "side of the patches, in HR pixels", least=1)
    rotate: bool = field(True, "augment by rotations of 90°, besides flips")
    workers: int = field(0, "processes that prefetch; 0: threads do", least=0, free=True)
    timeout: float = field(
        600.0, "seconds to wait for a batch before training saves and ends", above=0, free=True
    )
    check: bool = field(
        True, "decode all images before the first step; once for a workdir", free=True
    )
    changed: str = field(
        "refuse",
        "what to do where the data are not those of the last checkpoint",
        choices=("refuse", "accept"),
        free=True,
    )


@dataclasses.dataclass(frozen=True)
class Valid:
    """Validation; none without images."""

    path: str = field("", "images, as data.path", free=True)
    recursive: bool = field(False, "as data.recursive", free=True)
    tfds: str = field("", "as data.tfds", free=True)
    split: str = field("", "default: train for a path, validation for TFDS", free=True)
    count: int = field(16, "number of images, from the first", least=1, free=True)
    size: int = field(160, "side of their centre crops; 0 for whole images", least=0, free=True)
    every: int = field(5000, "steps from one validation to the next", least=1, free=True)
    temperatures: tuple[float, ...] = field(
        (0.0, 0.9),
        "temperatures to sample at; PSNR-Y at the first selects the best checkpoint",
        least=0,
        free=True,
    )
    samples: int = field(3, "samples per image where the temperature is not 0", least=1, free=True)
    lpips: bool = field(False, "LPIPS too, which needs hcflow_jax[lpips]", free=True)


@dataclasses.dataclass(frozen=True)
class SRLoss:
    """Weights of the super-resolution losses; 0 omits one."""

    quant: int = field(64, "q: the dequantisation noise is 1/q wide", least=1)
    dequantization: str = field(
        "centred",
        "noise U(−½, ½)/q; or published, U(0, 1)/q, whose mean is taken off what is sampled",
        choices=dequantization.KINDS,
    )
    nll_weight: float = field(1.0, "of the negative log-likelihood", least=0)
    pixel_weight: float = field(0.0, "of the distance to the HR image at temperature 0", least=0)
    pixel_norm: str = field("l1", "mean |a − b| or mean (a − b)²", choices=NORMS)
    perceptual_weight: float = field(0.0, "of the distance between VGG19 features", least=0)
    perceptual_norm: str = field("l1", "as pixel_norm", choices=NORMS)
    vgg: str = field("", "file of VGG19's weights, torchvision's .pth or a .npz", free=True)
    vgg_sha256: str = field("dcbb9e9d", "first digits of its SHA-256; empty accepts any", free=True)
    gan_weight: float = field(0.0, "of the adversarial loss", least=0)
    gan_type: str = field("gan", "kind of adversarial loss", choices=losses.GAN_TYPES)
    temperature: float = field(0.9, "of samples for perceptual and adversarial losses", least=0)


@dataclasses.dataclass(frozen=True)
class RescalingLoss:
    """Weights of the terms of the rescaling loss."""

    lr_weight: float = field(0.05, "of mean (LR − bicubic LR)²", least=0)
    latents_weight: float = field(1e-5, "of mean latents²", least=0)
    hr_weight: float = field(1.0, "of mean |HR' − HR|", least=0)
    jpeg_share: float = field(
        0.0, "share of the LR images that are saved as JPEGs before HR' is restored", least=0
    )
    jpeg_qualities: tuple[int, int] = field(
        (50, 95), "lowest and highest quality of those JPEGs", least=1, below=101
    )


@dataclasses.dataclass(frozen=True)
class Discriminator:
    """The discriminator of the adversarial loss."""

    kind: str = field(
        "vgg", "with dense layers, or fully convolutional", choices=("vgg", "patchgan")
    )
    features: int = field(64, "channels of its first convolution", least=1)
    layers: int = field(3, "inner layers of a patchgan", least=0)
    learning_rate: float = field(5e-5, "initial learning rate", above=0)
    first_steps: int = field(1500, "first steps, in which it alone is trained", least=0)


@dataclasses.dataclass(frozen=True)
class Train:
    """The course of a training."""

    batch_size: int = field(16, "patches per step, over all devices of all hosts", least=1)
    parallel: str = field(
        "pmap",
        "how an iteration is spread over devices: jax.pmap, or one program of jax.jit over sharded "
        "arrays; the numbers are the same",
        choices=devices.WAYS,
        free=True,
    )
    accumulate: int = field(1, "gradient accumulation: micro-batches per device", least=1)
    steps: int = field(300_000, "number of steps", least=1, free=True)
    learning_rate: float = field(2.5e-4, "initial learning rate", above=0)
    schedule: str = field(
        "multistep",
        "of the learning rate; its times are fractions of train.steps",
        choices=("multistep", "cosine"),
    )
    milestones: tuple[float, ...] = field((), "multistep: when gamma multiplies the rate", least=0)
    gamma: float = field(0.5, "multistep: factor at a milestone", above=0)
    restarts: tuple[float, ...] = field((), "when the next cycle begins", least=0)
    restart_weights: tuple[float, ...] = field((), "its rate / learning_rate", least=0)
    periods: tuple[float, ...] = field((1.0,), "cosine: length of every cycle", above=0)
    least_rate: float = field(0.0, "cosine: the rate at the end of a cycle", least=0)
    ema: float = field(
        0.0,
        "decay of the moving average of weights, which --checkpoint then loads; 0: none",
        least=0,
        below=1,
    )
    seed: int = field(0, "of all random numbers", least=0, below=2**31)
    deterministic: bool = field(
        False, "GPU programs that give the same bits at every run; slower", free=True
    )
    log_every: int = field(100, "steps from one log line to the next", least=1, free=True)
    save_every: int = field(5000, "steps from one checkpoint to the next", least=1, free=True)
    keep: int = field(
        2, "number of latest checkpoints kept, besides the best one", least=1, free=True
    )
    keep_every: int = field(
        50_000, "steps from one checkpoint kept for good to the next", least=1, free=True
    )
    max_skipped: int = field(
        20, "non-finite steps in a row before training stops", least=1, free=True
    )
    tensorboard: bool = field(True, "write for TensorBoard, where it is installed", free=True)
    profile: int = field(0, "steps to profile, from the tenth on", least=0, free=True)
