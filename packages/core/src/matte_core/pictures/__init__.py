"""The admission check of pictures: format, size, completeness. No module here decodes pixels or inflates a stream.

Other packages import ``probe`` only.
"""
