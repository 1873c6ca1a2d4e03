"""Model families: how a picture becomes an alpha."""
