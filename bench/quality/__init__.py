"""How good answers are: composites with known alpha, and rembg beside Matte (``make bench-quality, bench-peers``)."""
