from .base import Discriminator
from .conv import ConvDiscriminator, ConvNetwork
from .network import TokenNetwork
from .recurrent import RecurrentDiscriminator
from .transformer import TransformerDiscriminator

__all__ = [
    "ConvDiscriminator",
    "ConvNetwork",
    "Discriminator",
    "RecurrentDiscriminator",
    "TokenNetwork",
    "TransformerDiscriminator",
]
