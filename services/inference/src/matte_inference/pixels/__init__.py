"""The way of a picture through a replica: bytes → pixels → alpha → bytes. Pure functions, safe in any thread."""
