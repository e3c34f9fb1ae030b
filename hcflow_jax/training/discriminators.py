"""Discriminators of the adversarial recipes, as Flax modules; images [B, H, W, C] in [0, 1]."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from hcflow_jax.kernels.dense import leaky_relu
from hcflow_jax.model.networks import kaiming
from hcflow_jax.training.sections import Discriminator


def _uniform_bias(inputs):
    bound = inputs**-0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return init


class _Layers(nn.Module):
    """The layers of both discriminators, with PyTorch's default initialisation."""

    axis_name: str | None = None
    precision: lax.Precision = lax.Precision.HIGHEST

    def conv(self, x, outputs, name, size=3, stride=1, padding=1, use_bias=False):
        return nn.Conv(
            outputs,
            (size, size),
            (stride, stride),
            padding=padding,
            use_bias=use_bias,
            kernel_init=kaiming,
            bias_init=_uniform_bias(size * size * x.shape[-1]),
            precision=self.precision,
            name=name,
        )(x)

    def norm(self, x, train, name):
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            axis_name=self.axis_name,
            name=name,
        )(x)

    def dense(self, x, outputs, name):
        bias_init = _uniform_bias(x.shape[-1])
        return nn.Dense(
            outputs,
            kernel_init=kaiming,
            bias_init=bias_init,
            precision=self.precision,
            name=name,
        )(x)


class VGGDiscriminator(_Layers):
    """Five stages conv3×3, conv4×4 of stride 2, then two dense layers: [B, H, W, C] -> [B, 1].

    VGG-128 on 128-pixel patches, VGG-160 on 160-pixel ones. Stage i has min(2^i, 8)·features
    channels; batch norm follows every convolution but the first, LeakyReLU(0.2) all; batch
    statistics are those of all devices of `axis_name`. H and W must be multiples of 32. (SRGAN,
    figure 4; ESRGAN.)
    """

    features: int = 64

    @nn.compact
    def __call__(self, x, train: bool = True):
        for i in range(5):
            width = self.features * min(2**i, 8)
            x = self.conv(x, width, f"conv{i}_0", use_bias=i == 0)
            x = leaky_relu(x if i == 0 else self.norm(x, train, f"bn{i}_0"))
            x = self.conv(x, width, f"conv{i}_1", size=4, stride=2)
            x = leaky_relu(self.norm(x, train, f"bn{i}_1"))
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = leaky_relu(self.dense(x, 100, "linear1"))
        return self.dense(x, 1, "linear2")


class PatchGAN(_Layers):
    """layers + 2 conv3×3 without padding: [B, H, W, C] -> [B, H', W', 1], one logit per patch.

    Batch norm on all but the first and the last, LeakyReLU(0.2) on all but the last. (pix2pix,
    section 3.2.2.)
    """

    features: int = 64
    layers: int = 3

    @nn.compact
    def __call__(self, x, train: bool = True):
        x = leaky_relu(self.conv(x, self.features, "conv0", padding="VALID", use_bias=True))
        for i in range(1, self.layers + 1):
            x = self.conv(x, self.features, f"conv{i}", padding="VALID")
            x = leaky_relu(self.norm(x, train, f"bn{i}"))
        return self.conv(x, 1, f"conv{self.layers + 1}", padding="VALID")


def build(
    section: Discriminator,
    axis_name: str | None = None,
    precision: lax.Precision = lax.Precision.HIGHEST,
) -> nn.Module:
    """The network of a config's section, which maps (images, train) to logits.

    Args:
      axis_name: mapped axis over which batch statistics are averaged.
      precision: of convolutions and matrix products.
    """
    if section.kind == "vgg":
        return VGGDiscriminator(axis_name, precision, features=section.features)
    return PatchGAN(axis_name, precision, features=section.features, layers=section.layers)
