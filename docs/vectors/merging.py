"""Merges the updates of a round, in whole numbers, as merge/README.md says: the reader of merges.json.

It knows files in memory only, and takes its time.
"""

import hashlib
import json
import struct
from fractions import Fraction
from math import isqrt, prod

# A weight is a number of 2^-32nds, and none has this magnitude.
ONE, LIMIT = 1 << 32, 1 << 20
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
WHOLE = {"I8": "b", "U8": "B", "BOOL": "B", "I16": "h", "U16": "H", "I32": "i", "U32": "I", "I64": "q", "U64": "Q"}
SIZES = {**FLOATS, **{dtype: struct.calcsize(code) for dtype, code in WHOLE.items()}}


class Void(Exception):
    """A file that does not count."""


def demand(condition):
    if not condition:
        raise Void


def once(pairs):
    demand(len(dict(pairs)) == len(pairs))
    return dict(pairs)


def parse(data):
    """A file's header, byte for byte, its tensors in their order, and the names of its statistics."""
    demand(len(data) >= 8)
    length = 8 + int.from_bytes(data[:8], "little")
    demand(length - 8 <= 4 << 20 and length <= len(data))
    try:
        described = json.loads(data[8:length], object_pairs_hook=once)
        statistics = described.pop("__metadata__", {}).get("colearn.statistics", "").split(",")
        tensors, end = {}, 0
        for name, it in sorted(described.items(), key=lambda item: item[1]["data_offsets"]):
            demand(set(it) == {"dtype", "shape", "data_offsets"})
            start, stop = it["data_offsets"]
            demand(start == end and stop - start == prod(it["shape"]) * SIZES[it["dtype"]])
            tensors[name] = (it["dtype"], it["shape"], data[length + start : length + stop])
            end = stop
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Void from error
    demand(length + end == len(data))
    return data[:length], tensors, statistics


def numbers(dtype, data):
    """Whole numbers, or floats as whole numbers of 2^-32nds."""
    if dtype in WHOLE:
        return [value for (value,) in struct.iter_unpack("<" + WHOLE[dtype], data)]
    if dtype == "BF16":
        # The upper half of a single.
        data, dtype = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2)), "F32"
    values = [value for (value,) in struct.iter_unpack({"F64": "<d", "F32": "<f", "F16": "<e"}[dtype], data)]
    demand(all(abs(value) < LIMIT for value in values))
    return [round(Fraction(value) * ONE) for value in values]


def write(dtype, values):
    """The same as bytes; None where a value is too large, or becomes it."""
    if dtype in WHOLE:
        return struct.pack(f"<{len(values)}{WHOLE[dtype]}", *values)
    if any(abs(value) >= LIMIT * ONE for value in values):
        return None
    floats = [value / ONE for value in values]
    if dtype != "F64":
        floats = [struct.unpack("<f", struct.pack("<f", value))[0] for value in floats]
    if dtype == "BF16":
        bits = [struct.unpack("<I", struct.pack("<f", value))[0] for value in floats]
        data = b"".join(((it + 0x7FFF + (it >> 16 & 1)) >> 16).to_bytes(2, "little") for it in bits)
    else:
        try:
            data = struct.pack(f"<{len(floats)}{ {'F64': 'd', 'F32': 'f', 'F16': 'e'}[dtype]}", *floats)
        except OverflowError:
            return None
    try:
        numbers(dtype, data)
    except Void:
        return None
    return data


def rdiv(a, n):
    return (2 * a + n) // (2 * n)


def lower(values):
    return sorted(values)[(len(values) - 1) // 2]


def middle(values):
    upper = sorted(values)[len(values) // 2]
    return upper if len(values) % 2 else rdiv(lower(values) + upper, 2)


def square(step):
    return sum(value * value for value in step)


class Layout:
    """What the base says of each value: all that is compared, and what is done with it."""

    def __init__(self, base):
        self.header, tensors, statistics = parse(base)
        self.tensors = {name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()}
        self.roles = []
        for name, (dtype, _, data) in tensors.items():
            role = "whole" if dtype in WHOLE else "statistic" if name in statistics else "weight"
            self.roles += [role] * (len(data) // SIZES[dtype])

    def read(self, data):
        _, tensors, _ = parse(data)
        demand({name: (dtype, shape) for name, (dtype, shape, _) in tensors.items()} == self.tensors)
        return [value for name in self.tensors for value in numbers(tensors[name][0], tensors[name][2])]

    def pick(self, values, role):
        return [value for value, is_of in zip(values, self.roles) if is_of == role]

    def file(self, weights, whole, statistics):
        """A merge as bytes; None where there is none."""
        left = {"weight": iter(weights), "whole": iter(whole), "statistic": iter(statistics)}
        values = iter([next(left[role]) for role in self.roles])
        parts = [self.header]
        for dtype, shape in self.tensors.values():
            parts.append(write(dtype, [next(values) for _ in range(prod(shape))]))
        return None if None in parts else b"".join(parts)


def merge(base, previous, updates, clip_permille=2000, momentum_permille=0):
    """Which updates are void, and the open and the guarded merge; None for a merge that is not there."""
    void, read = [], []
    try:
        layout = Layout(base)
        start = layout.read(base)
        before = start if previous is None else layout.read(previous)
    except Void:
        return [], None, None
    b = layout.pick(start, "weight")
    for update in updates:
        try:
            values = layout.read(update)
            d = [value - own for value, own in zip(layout.pick(values, "weight"), b)]
            demand(square(d) < 1 << 125)
            read.append((values, d))
        except Void:
            void.append(True)
        else:
            void.append(False)
    if not read:
        return void, None, None
    steps, k = [d for _, d in read], len(read)

    # The open step: nobody is loud.
    lengths = [isqrt(square(d)) for d in steps]
    limit = lower(lengths) * clip_permille // 1000
    clipped = [
        d if length <= limit else [value * (limit * 2**30 // length) >> 30 for value in d]
        for d, length in zip(steps, lengths)
    ]
    opened = [rdiv(sum(column), k) for column in zip(*clipped)]

    # The guarded step: what most agree on, if they have anything in common.
    m = k - (k - 1) // 2
    distances = [[square(x - y for x, y in zip(a, c)) for c in steps] for a in steps]
    near = [sorted(range(k), key=lambda j: (row[j], j))[:m] for row in distances]
    guarded = None
    if m < 2 or 2 * lower(
        [lower([row[j] for j in nearest if j != i]) for i, (row, nearest) in enumerate(zip(distances, near))]
    ) <= 3 * lower([square(d) for d in steps]):
        mixed = [[rdiv(sum(column), m) for column in zip(*(steps[j] for j in nearest))] for nearest in near]
        guarded = [middle(column) for column in zip(*mixed)]

    moved = [x - y for x, y in zip(b, layout.pick(before, "weight"))]
    momentum = [rdiv(value * momentum_permille, 1000) for value in moved]
    whole = [lower(column) for column in zip(*(layout.pick(values, "whole") for values, _ in read))]
    statistics = [middle(column) for column in zip(*(layout.pick(values, "statistic") for values, _ in read))]

    def file(step):
        if step is None:
            return None
        return layout.file([sum(parts) for parts in zip(b, step, momentum)], whole, statistics)

    return void, file(opened), file(guarded)


def check_merges(file, same):
    def unpack(stated):
        data = bytes.fromhex(stated["bytes"])
        same(hashlib.sha256(data).hexdigest(), stated["digest"], "a digest")
        return data

    for case in file["cases"]:
        previous = case.get("previous")
        void, *merges = merge(
            unpack(case["base"]),
            previous and unpack(previous),
            [unpack(update) for update in case["updates"]],
            case.get("clip_permille", 2000),
            case.get("momentum_permille", 0),
        )
        same(void, case["void"], case["name"])
        for name, computed in zip(["open", "guarded"], merges):
            same(computed and hashlib.sha256(computed).hexdigest(), case.get(name), f"{case['name']}: {name}")
