"""The admission check of pictures: format, size, completeness. No module here decodes pixels or inflates a stream.

Other packages call ``probe.probe`` and ``sniff.sniff``.
"""
