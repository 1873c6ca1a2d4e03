"""Decoding, scaling, composing and encoding of pictures as NumPy arrays. No model and no job is known here."""
