"""Human assessors: a store of ratings, the page that collects them, and what learns from them.

Needs the extra ``assessors``, but for reading ratings from a file.
"""

from .assessors import Assessors

__all__ = ["Assessors"]
