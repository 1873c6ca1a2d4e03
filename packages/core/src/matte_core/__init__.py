"""Contracts and pure rules shared by every part of Matte.

Layers, each importing only those below it: ``pictures`` and ``domain``, then ``contracts``, then ``errors``.
Nothing here reads a clock, the environment, a file or the network.
"""
