"""What assessors see: the pages, and how samples are drawn on them."""
