"""Pictures before they are decoded: what they are, how big, and whether they are whole.

``probe`` is the door. The formats are walked by one module each; none of them decodes a pixel or inflates a stream.
"""

from matte_core.pictures.probe import probe

__all__ = ["probe"]
