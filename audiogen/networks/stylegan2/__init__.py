"""Define StyleGAN2 (Karras et al., 2020) with the reference implementation's parameter names and shapes.

Written from the papers. Square networks have the reference's state-dict keys (`synthesis.b64.conv0.weight`, ...).
"""

from audiogen.networks.stylegan2.discriminator import Discriminator
from audiogen.networks.stylegan2.generator import Generator

__all__ = ["Discriminator", "Generator"]
