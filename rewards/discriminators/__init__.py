from .base import Discriminator, TokenNetwork
from .conv import ConvDiscriminator, ConvNetwork
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
