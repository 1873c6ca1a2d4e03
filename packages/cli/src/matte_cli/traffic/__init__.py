"""``matte traffic``: sends pictures and measures how the versions share them."""
