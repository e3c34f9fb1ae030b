"""ICC profiles of a matrix and a power curve, and of grey, as small as they can be."""

import struct

import numpy as np

BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
D50 = np.array([0.9642, 1.0, 0.8249])
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(*values):
    return b"".join(struct.pack(">i", round(65536 * value)) for value in values)


def _curve(parameters):
    """A parametric curve: gamma, or IEC 61966-2.1's five numbers."""
    kind = 0 if len(parameters) == 1 else 3
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _fixed(*parameters)


def columns(primaries):
    """XYZ of red, green and blue under D50, of primaries whose white is D65."""
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    xyz = xyz * np.linalg.solve(xyz, white)
    adapt = np.linalg.inv(BRADFORD) @ np.diag(BRADFORD @ D50 / (BRADFORD @ white)) @ BRADFORD
    return (adapt @ xyz).T


def _profile(space, tags, kind=b"mntr", connection=b"XYZ "):
    tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)} | tags
    for name, text in ((b"desc", "test"), (b"cprt", "none")):
        text = text.encode("utf-16-be")
        header = struct.pack(">IIHHII", 1, 12, 0x656E, 0x5553, len(text), 28)
        tags[name] = b"mluc\0\0\0\0" + header + text
    offset, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", offset + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12x4s28x", 0, b"\0\0\0\0", 0x04300000, kind, space, connection, b"acsp"
    )
    header = header + _fixed(*D50)
    whole = header.ljust(128, b"\0") + table + data
    return struct.pack(">I", len(whole)) + whole[4:]


def rgb(primaries=P3, curve=SRGB_CURVE):
    tags = {}
    for name, column in zip(b"rgb", columns(primaries), strict=True):
        tags[bytes([name]) + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(*column)
        tags[bytes([name]) + b"TRC"] = _curve(curve)
    return _profile(b"RGB ", tags)


def grey(gamma=1.0):
    return _profile(b"GRAY", {b"kTRC": _curve((gamma,))})


def cmyk():
    """One whose inks mix linearly in Lab, with a cyan outside sRGB."""
    inks = np.array([[45, -60, -50], [45, 75, 0], [5, -5, 85], [80, 0, 0]])
    lab = []
    for node in range(16):
        amounts = [node >> 3 & 1, node >> 2 & 1, node >> 1 & 1, node & 1]
        values = np.array([100, 0, 0]) + np.array(amounts) @ (inks * [-1, 1, 1])
        values = np.clip(values, [0, -128, -128], [100, 127, 127])
        lab += [round(values[0] * 2.55), round(values[1] + 128), round(values[2] + 128)]
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    identity = bytes(range(256))
    table += 4 * identity + bytes(lab) + 3 * identity
    return _profile(b"CMYK", {b"A2B0": table, b"A2B1": table}, b"prtr", b"Lab ")


def light(values):
    """sRGB's tone curve: coded values -> linear light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
