from .conv import ConvDiscriminator, ConvNetwork

__all__ = ["ConvDiscriminator", "ConvNetwork"]
