"""The authors' PyTorch networks, from a checkout of JingyunLiang/HCFlow, behind plain functions."""

import importlib
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

OPTIONS = {
    "sr_x4": "train_SR_DF2K_4X_HCFlow.yml",
    "sr_x8": "train_SR_CelebA_8X_HCFlow.yml",
    "rescaling_x4": "train_Rescaling_DF2K_4X_HCFlow.yml",
}
"""The option file of each task, whose network is the published one."""

UNUSED = ("cv2", "matplotlib", "matplotlib.pyplot", "natsort", "torchvision", "torchvision.utils")
"""What the checkout imports and these functions never call."""


class Peer:
    """One published network and its training step.

    Args:
      checkout: the repository's root.
      name: "sr_x4", "sr_x8" or "rescaling_x4".
      device: PyTorch's name of one; "cpu", "cuda", …

    Weights are random, drawn at the scale of a trained network's, so that no map is the identity.
    """

    def __init__(self, checkout: str, name: str, device: str = "cpu"):
        codes = Path(checkout) / "codes"
        sys.path.insert(0, str(codes))
        for module in UNUSED:
            sys.modules.setdefault(module, mock.MagicMock())
        import yaml

        options = yaml.safe_load((codes / "options" / "train" / OPTIONS[name]).read_text())
        torch.manual_seed(0)
        self.sr = name.startswith("sr")
        module = "HCFlowNet_SR" if self.sr else "HCFlowNet_Rescaling"
        architecture = importlib.import_module(f"models.modules.{module}_arch")
        with mock.patch("builtins.print"):
            self.net = getattr(architecture, module)(opt=options)
        with torch.no_grad():
            for parameter in self.net.parameters():
                if parameter.dim() == 4 and not parameter.any():
                    parameter.normal_(0, 1e-3)
        self.device = device
        self.net.to(device).eval()
        for part in self.net.modules():
            if hasattr(part, "inited"):
                part.inited = True
        self.settings = options["train"]
        betas = (self.settings["beta1"], self.settings["beta2"])
        self.optimizer = torch.optim.Adam(self.net.parameters(), self.settings["lr_G"], betas)

    def _tensor(self, array):
        return torch.from_numpy(array).to(self.device)

    @torch.no_grad()
    def sample(self, lr: np.ndarray, temperature: float):
        """[B, 3, h, w] -> [B, 3, H, W]."""
        self.net.eval()
        lr = self._tensor(lr)
        return self.net(lr=lr, z=None, u=None, eps_std=temperature, reverse=True, training=False)

    @torch.no_grad()
    def encode(self, hr: np.ndarray, lr: np.ndarray):
        """The likelihood of a pair (super-resolution), or the LR image and latents (rescaling)."""
        self.net.eval()
        hr, lr = self._tensor(hr), self._tensor(lr)
        return self.net(hr=hr, lr=lr, u=None, reverse=False, training=False)

    def step(self, hr: np.ndarray, lr: np.ndarray) -> float:
        """One iteration of training: loss, backward, clipping, Adam."""
        self.net.train()
        self.optimizer.zero_grad()
        hr, lr = self._tensor(hr), self._tensor(lr)
        if self.sr:
            _, nll = self.net(hr=hr, lr=lr, u=None, reverse=False)
            loss = nll.sum()
        else:
            loss = self._rescaling(hr, lr)
        loss.backward()
        torch.nn.utils.clip_grad_value_(self.net.parameters(), self.settings["max_grad_clip"])
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings["max_grad_norm"])
        self.optimizer.step()
        return loss.item()

    def _rescaling(self, hr, lr):
        small, *latents = self.net(hr=hr, lr=lr, u=None, reverse=False)
        rounded = small + (torch.round(small * 255) / 255 - small).detach()
        scale = self.settings["eps_std_reverse"]
        back = self.net(lr=rounded, z=None, u=None, eps_std=scale, reverse=True)
        loss = self.settings["pixel_weight_lr"] * torch.nn.functional.mse_loss(small, lr)
        flat = torch.cat([z.flatten() for z in latents])
        loss = loss + self.settings["weight_z"] * (flat**2).mean()
        return loss + self.settings["pixel_weight_hr"] * (back - hr).abs().mean()
