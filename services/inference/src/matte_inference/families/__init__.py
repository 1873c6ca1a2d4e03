"""Model families: how a picture becomes an alpha. Decoding before it and composing after it belong to ``pixels``."""
