#!/usr/bin/env python3
"""Checks the conformance vectors, with nothing but Python's standard library.

Usage: check.py [FOLDER...]

Every value of the folders' files (by default of this one's) is derived again from the others: messages
are encoded, bytes hashed, signatures made and verified, proofs computed, ledgers followed. It shares no
line with the program that wrote the vectors, and may be read as the shortest follower of a colearn
ledger, without the contract. README.md says what each file is for. The numbers of fields are read from
the `.proto` file.
"""

import base64
import binascii
import hashlib
import json
import re
import sys
from functools import cache
from pathlib import Path

from merging import check_merges

HERE = Path(__file__).resolve().parent
PROTO = HERE / "../../proto/colearn/v1/types.proto"


class Refused(Exception):
    """Something is not to be believed; the text is the reason, as the vectors name it."""


def demand(condition, what):
    if not condition:
        raise AssertionError(what)


def same(computed, stated, what):
    demand(computed == stated, f"{what}: computed {computed}, stated {stated}")


def refuses(case, check, *of):
    """Demands that `check` refuses a case, for the reason that is stated."""
    try:
        check(*of)
    except Refused as refused:
        return same(str(refused), case["reason"], case["name"])
    raise AssertionError(f"{case['name']}: nothing is refused")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# Ed25519 (RFC 8032), strictly: S is reduced, neither key nor R is of small order, no cofactor.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]), (p[1] + p[0]) * (q[1] + q[0])
    c, d = 2 * p[3] * q[3] * D, 2 * p[2] * q[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


NEUTRAL = (0, 1, 1, 0)


def times(scalar, point):
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def is_same(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def compress(point):
    inverse = pow(point[2], -1, P)
    return (point[1] * inverse % P | (point[0] * inverse % P & 1) << 255).to_bytes(32, "little")


@cache
def decompress(data):
    """The point of 32 bytes, or None."""
    y, sign = int.from_bytes(data, "little") & (1 << 255) - 1, data[31] >> 7
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or x * x % P != square or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = decompress((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def challenge(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


@cache
def verifies(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = decompress(key), decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or any(is_same(times(8, it), NEUTRAL) for it in (a, r)):
        return False
    k = challenge(signature[:32], key, message)
    return is_same(times(s, BASE), add(r, times(k, a)))


def secret(seed):
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, digest[32:]


@cache
def public_key(seed):
    return compress(times(secret(seed)[0], BASE))


@cache
def sign(seed, message):
    scalar, prefix = secret(seed)
    r = challenge(prefix, message)
    point = compress(times(r, BASE))
    s = (r + challenge(point, public_key(seed), message) * scalar) % L
    return point + s.to_bytes(32, "little")


# Messages of protobuf, as ProtoJSON and as bytes. There is one encoding: fields ascend, where a oneof
# has the place of its lowest number; defaults and unknown fields are left out.


def read_proto(text):
    """Messages as {name: {field: (number, type, label, oneof)}}, enums as {name: {value: number}}."""
    messages, enums, body, oneof = {}, {}, {}, None
    for line in re.sub(r"//.*", "", text).splitlines():
        if match := re.match(r"(message|enum) (\w+) {", line):
            body = (messages if match[1] == "message" else enums).setdefault(match[2], {})
        elif match := re.match(r"\s*oneof (\w+)", line):
            oneof = match[1]
        elif match := re.match(r"\s*(optional |repeated |)(\w+) (\w+) = (\d+);", line):
            body[match[3]] = (int(match[4]), match[2], match[1].strip(), oneof)
        elif match := re.match(r"\s*(\w+) = (\d+);", line):
            body[match[1]] = int(match[2])
        elif line.strip() == "}":
            oneof = None
    return messages, enums


MESSAGES, ENUMS = read_proto(PROTO.read_text())
NUMBERS = {"uint32": int, "uint64": str, "sint64": str, "bool": bool}  # In JSON.


def varint(number):
    data = b""
    while number >= 0x80:
        data, number = data + bytes([number & 0x7F | 0x80]), number >> 7
    return data + bytes([number])


def packed(kind, value):
    """Of one value: its wire type, and its bytes."""
    if kind in ENUMS:
        return 0, varint(ENUMS[kind].get(value, value))
    if kind == "sint64":
        return 0, varint(int(value) * 2 if int(value) >= 0 else -int(value) * 2 - 1)
    if kind in NUMBERS:
        return 0, varint(int(value))
    if kind == "bytes":
        data = base64.b64decode(value, validate=True)
    else:
        data = value.encode() if kind == "string" else encode(kind, value)
    return 2, varint(len(data)) + data


def encode(name, message):
    """The bytes of a message."""
    fields, data = MESSAGES[name], b""
    demand(set(message) <= set(fields), f"{name} has no fields {set(message) - set(fields)}")
    places = {}
    for number, _, _, oneof in sorted(fields.values()):
        places[number] = places.setdefault(oneof, number) if oneof else number
    for field, (number, kind, label, oneof) in sorted(fields.items(), key=lambda it: places[it[1][0]]):
        if field not in message:
            continue
        value = message[field]
        items = value if label == "repeated" else [value]
        if label == "repeated" and kind in NUMBERS:
            numbers = b"".join(packed(kind, it)[1] for it in items)
            data += varint(number << 3 | 2) + varint(len(numbers)) + numbers
            continue
        for item in items:
            wire, payload = packed(kind, item)
            is_default = not label and not oneof and kind not in MESSAGES and payload == b"\0"
            demand(not is_default, f"{name}.{field} is a default, and written out")
            data += varint(number << 3 | wire) + payload
    return data


def take_varint(data):
    number = 0
    for place, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if number >> 64:
                break
            return number, data[place + 1 :]
    raise ValueError("a number that does not end")


def take_bytes(data):
    length, data = take_varint(data)
    if length > len(data):
        raise ValueError("cut off")
    return data[:length], data[length:]


def take_value(kind, wire, data):
    if kind in NUMBERS or kind in ENUMS:
        if wire != 0:
            raise ValueError("another type")
        number, data = take_varint(data)
        if kind == "sint64":
            return str(number >> 1 ^ -(number & 1)), data
        if kind in ENUMS:
            return {it: word for word, it in ENUMS[kind].items()}.get(number, number), data
        return NUMBERS[kind](number), data
    if wire != 2:
        raise ValueError("another type")
    value, data = take_bytes(data)
    if kind == "bytes":
        return base64.b64encode(value).decode(), data
    return value.decode() if kind == "string" else decode(kind, value), data


def decode(name, data):
    """A message from whatever protobuf takes for one. ValueError if it is none."""
    fields = {it[0]: (field, *it[1:]) for field, it in MESSAGES[name].items()}
    message = {}
    while data:
        tag, data = take_varint(data)
        number, wire = tag >> 3, tag & 7
        if number not in fields:
            if wire not in (0, 1, 2, 5) or not number:
                raise ValueError("no field")
            if wire in (0, 2):
                data = (take_varint if wire == 0 else take_bytes)(data)[1]
            else:
                data = data[8 if wire == 1 else 4 :]
            continue
        field, kind, label, oneof = fields[number]
        if label == "repeated" and kind in NUMBERS and wire == 2:
            items, data = take_bytes(data)
            while items:
                value, items = take_value(kind, 0, items)
                message.setdefault(field, []).append(value)
            continue
        value, data = take_value(kind, wire, data)
        if oneof:
            for other, it in MESSAGES[name].items():
                if it[3] == oneof and other != field:
                    message.pop(other, None)
        if label == "repeated":
            message.setdefault(field, []).append(value)
        elif label or oneof or kind in MESSAGES or value not in ("", 0, "0", False, zero(kind)):
            message[field] = value
        else:
            message.pop(field, None)
    return message


def zero(kind):
    return next((word for word, number in ENUMS.get(kind, {}).items() if number == 0), "")


def which(name, message, oneof):
    """The field of a oneof that is there, or None."""
    return next((field for field in message if MESSAGES[name][field][3] == oneof), None)


OPTIONAL = {"plan", "terms", "link", "open", "guarded"}
NEEDED = {
    "Transaction": ["seen"],
    "CreateExperiment": ["parameters", "model"],
    "Propose": ["weights", "scores"],
    "Vote": ["scores"],
    "Reveal": ["vote"],
    "Update": ["weights", "scores"],
    "RevealUpdate": ["update"],
    "MergeVote": ["scores_open", "scores_guarded"],
    "RevealMergeVote": ["vote"],
    "Finished": ["reason"],
}


def check_fields(name, message):
    """What a message must have, wherever it stands. ValueError if it does not."""
    for field, (_, kind, label, oneof) in MESSAGES[name].items():
        value = message.get(field)
        if value is None and field in NEEDED.get(name, []):
            raise ValueError(f"{field} is missing")
        absent = oneof or label == "repeated" or field in OPTIONAL
        if kind == "bytes" and (value is not None or not absent):
            every = value if isinstance(value, list) else [value or ""]
            if field != "new_signature" and any(len(base64.b64decode(it)) != 32 for it in every):
                raise ValueError(f"{field} is no digest and no key")
        if kind in ENUMS and value is not None and value not in ENUMS[kind]:
            raise ValueError(f"{field} is unknown")
        if field == "experiment" and not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value or ""):
            raise ValueError(f"{field} breaks R1")
        if kind in MESSAGES and value is not None:
            for item in value if isinstance(value, list) else [value]:
                check_fields(kind, item)
    if name == "Vote" and message.get("approve") and message.get("abstain"):
        raise ValueError("for and neither")
    for oneof in ("action", "decision", "motion"):
        if any(it[3] == oneof for it in MESSAGES[name].values()) and not which(name, message, oneof):
            raise ValueError(f"{oneof} is missing")


def raw(message, field):
    return base64.b64decode(message.get(field, ""))


# The tree (RFC 6962), and the checks of RFC 9162 that need only a proof.


def leaf_hash(data):
    return sha256(b"\0", data)


def node_hash(left, right):
    return sha256(b"\1", left, right)


def split(size):
    return 1 << (size - 1).bit_length() - 1


class Tree:
    def __init__(self, leaves):
        self.leaves, self.known = leaves, {}

    def root(self, size, start=0):
        """Over the leaves from `start` to `start + size`."""
        if size < 2:
            return self.leaves[start] if size else sha256()
        if (start, size) not in self.known:
            half = split(size)
            halves = self.root(half, start), self.root(size - half, start + half)
            self.known[start, size] = node_hash(*halves)
        return self.known[start, size]

    def inclusion(self, index, size, start=0):
        if size == 1:
            return []
        half = split(size)
        if index < half:
            return [*self.inclusion(index, half, start), self.root(size - half, start + half)]
        return [*self.inclusion(index - half, size - half, start + half), self.root(half, start)]

    def consistency(self, old, new, start=0, whole=True):
        if old == new:
            return [] if whole else [self.root(new, start)]
        half = split(new)
        if old <= half:
            return [*self.consistency(old, half, start, whole), self.root(new - half, start + half)]
        rest = self.consistency(old - half, new - half, start + half, False)
        return [*rest, self.root(half, start)]


def climb(first, position, last, path):
    """The roots that a path leads to: up to `position`, and of all. None if it leads nowhere."""
    left = right = first
    for sibling in path:
        if last == 0:
            return None
        if position & 1 or position == last:
            left, right = node_hash(sibling, left), node_hash(sibling, right)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            right = node_hash(right, sibling)
        position, last = position >> 1, last >> 1
    return None if last else (left, right)


def is_included(leaf, index, size, path, root):
    if index >= size:
        return False
    roots = climb(leaf, index, size - 1, path)
    return roots is not None and roots[1] == root


def is_begun(old, old_root, new, new_root, path):
    if old > new:
        return False
    if old in (0, new):
        return not path and old_root == (new_root if old == new else sha256())
    if old & old - 1 == 0:
        path = [old_root, *path]
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    return bool(path) and climb(path[0], position, last, path[1:]) == (old_root, new_root)


# Notes, checkpoints, receipts (C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof).

LOG, WITNESS = 1, 4


def unbase64(text, reason):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(reason) from None
    if base64.b64encode(data).decode() != text:
        raise Refused(reason)
    return data


class Verifier:
    def __init__(self, name, kind, key):
        if not name or "+" in name or re.search(r"\s", name) or len(key) != 32 or not decompress(key):
            raise Refused("Key")
        self.name, self.kind, self.key = name, kind, key
        self.id = sha256(name.encode(), b"\n", bytes([kind]), key)[:4]

    @classmethod
    def parse(cls, text):
        parts = text.split("+", 2)
        data = unbase64(parts[-1], "Key")
        if len(parts) != 3 or not data or data[0] not in (LOG, WITNESS):
            raise Refused("Key")
        verifier = cls(parts[0], data[0], data[1:])
        if verifier.id.hex() != parts[1]:
            raise Refused("Key")
        return verifier

    def __str__(self):
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.key).decode()}"

    def signed(self, text, time_s):
        return f"cosignature/v1\ntime {time_s}\n{text}" if self.kind == WITNESS else text

    def line(self, seed, text, time_s):
        data = sign(seed, self.signed(text, time_s).encode())
        data = self.id + (time_s.to_bytes(8, "big") if self.kind == WITNESS else b"") + data
        return f"— {self.name} {base64.b64encode(data).decode()}\n"


def split_note(note, verifier):
    """The text of a note, and what that key is said to have signed it with; nothing is verified."""
    text, blank, lines = note.rpartition("\n\n")
    if len(note.encode()) > 65_536 or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise Refused("Malformed")
    if not blank or not lines.endswith("\n"):
        raise Refused("Malformed")
    text += "\n"
    signatures = []
    for line in lines[:-1].split("\n"):
        match = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
        if not match:
            raise Refused("Malformed")
        signatures.append((match[1], unbase64(match[2], "Malformed")))
    return text, [
        data[4:] for name, data in signatures if (name, data[:4]) == (verifier.name, verifier.id)
    ]


def verify_note(note, verifier):
    text, own = split_note(note, verifier)
    for data in own:
        time_s = int.from_bytes(data[:8], "big")
        signature = data[8:] if verifier.kind == WITNESS else data
        if not verifies(verifier.key, verifier.signed(text, time_s).encode(), signature):
            raise Refused("BadSignature")
    if not own:
        raise Refused("Unsigned")
    return text


def parse_checkpoint(note, verifier):
    """Origin, size and root of a checkpoint, unverified."""
    lines = split_note(note, verifier)[0].split("\n")
    if len(lines) != 4 or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
        raise Refused("Malformed")
    root = unbase64(lines[2], "Malformed")
    if len(root) != 32 or int(lines[1]) >= 1 << 63:
        raise Refused("Malformed")
    return lines[0], int(lines[1]), root


def open_checkpoint(note, verifier):
    origin, size, root = parse_checkpoint(note, verifier)
    if origin != verifier.name:
        raise Refused("WrongOrigin")
    verify_note(note, verifier)
    return size, root


def verify_receipt(text, leaf, verifier):
    head, blank, checkpoint = text.partition("\n\n")
    first, *lines = head.split("\n")
    if lines and lines[0].startswith("extra "):  # An application's own; nothing signs it.
        unbase64(lines.pop(0).removeprefix("extra "), "Malformed")
    match = re.fullmatch(r"index (0|[1-9][0-9]*)", lines[0]) if lines else None
    if first != "c2sp.org/tlog-proof@v1" or not blank or not match:
        raise Refused("Malformed")
    path = [unbase64(line, "Malformed") for line in lines[1:]]
    size, root = open_checkpoint(checkpoint, verifier)
    if not is_included(leaf, int(match[1]), size, path, root):
        raise Refused("Malformed")
    return int(match[1]), path


# Transactions.


def big(number, size):
    return number.to_bytes(size, "big")


def signed_bytes(ledger, body):
    return b"colearn/v1/transaction\n" + ledger + body


def consent_bytes(ledger, old, replace):
    new = raw(replace, "new_public_key")
    return b"colearn/v1/replace-key\n" + ledger + old + new + replace["experiment"].encode()


def open_transaction(signed):
    """A transaction's body, in its one encoding."""
    body = raw(signed, "body")
    if len(body) > 65_000:
        raise Refused("TooLarge")
    if len(raw(signed, "public_key")) != 32:
        raise Refused("Malformed")
    try:
        message = decode("Transaction", body)
    except ValueError:
        raise Refused("Malformed") from None
    if encode("Transaction", message) != body:
        raise Refused("NotCanonical")
    try:
        check_fields("Transaction", message)
    except ValueError:
        raise Refused("Malformed") from None
    return message


def verify_transaction(ledger, signed, message):
    key = raw(signed, "public_key")
    if not verifies(key, signed_bytes(ledger, raw(signed, "body")), raw(signed, "signature")):
        raise Refused("BadSignature")
    if replace := message.get("replace_key"):
        consent = consent_bytes(ledger, key, replace)
        if not verifies(raw(replace, "new_public_key"), consent, raw(replace, "new_signature")):
            raise Refused("NoConsent")


def read_transaction(ledger, data):
    """A transaction that was sent."""
    signed = decode("SignedTransaction", data)
    message = open_transaction(signed)
    verify_transaction(ledger, signed, message)
    return message


def commitment(ledger, version, voter, vote, salt):
    """R34."""
    name = vote["experiment"].encode()
    choice = 2 if vote.get("abstain") else int(vote.get("approve", False))
    data = b"colearn/v%d/ballot\n" % version + ledger + voter + bytes([len(name)]) + name
    data += big(int(vote["round"]), 8) + raw(vote, "weights") + bytes([choice])
    if version > 1:
        data += bytes([ENUMS["Reason"][vote.get("reason", "REASON_UNSPECIFIED")]])
    return sha256(data, measured(vote["scores"]), salt)


def measured(scores):
    data = b""
    for kind in ("vote", "test"):
        score = scores.get(kind)
        data += b"\0" if score is None else b"\1" + int(score).to_bytes(8, "big", signed=True)
    return data


def sealed(domain, ledger, sender, message):
    """What commitments in merged rounds begin with."""
    name = message["experiment"].encode()
    return domain + ledger + sender + bytes([len(name)]) + name + big(int(message["round"]), 8)


def update_commitment(ledger, sender, update, salt):
    """R76."""
    weights = update["weights"]
    return sha256(
        sealed(b"colearn/v2/update\n", ledger, sender, update),
        raw(update, "base"),
        raw(weights, "digest"),
        big(int(weights["size"]), 8),
        salt,
    )


def merge_vote_commitment(ledger, voter, vote, salt):
    """R81."""

    def bits(*flags):
        return bytes([sum(bool(flag) << place for place, flag in enumerate(flags))])

    merges = vote.get("merges", {})
    there = [raw(merges, "open"), raw(merges, "guarded")]
    judged = (vote.get(it) for it in ("bear_open", "bear_guarded", "prefer_guarded"))
    return sha256(
        sealed(b"colearn/v2/merge-ballot\n", ledger, voter, vote),
        bits(*there),
        *there,
        bits(*judged),
        bytes([ENUMS["Reason"][vote.get("reason", "REASON_UNSPECIFIED")]]),
        measured(vote["scores_open"]),
        measured(vote["scores_guarded"]),
        salt,
    )


def terms(version, creator, rules):
    """R53."""

    def number(field, size):
        return big(int(rules.get(field, 0)), size)

    def maybe(data):
        return b"\0" if data is None else b"\1" + data

    def share(field):
        it = rules[field]
        strict = bytes([it.get("strict", False)])
        return big(it.get("numerator", 0), 4) + big(it["denominator"], 4) + strict

    def choice(field, kind):
        return bytes([ENUMS[kind][rules[field]] if field in rules else 0])

    def if_there(field, data):
        return maybe(data() if field in rules else None)

    def merging(it):
        counts = ("proposers", "clip_permille", "momentum_permille", "checkers")
        gathers = it.get("gather_deadline_ms")
        deadline = maybe(None if gathers is None else big(int(gathers), 8))
        return b"".join(big(it.get(count, 0), 4) for count in counts) + deadline

    kind = which("Parameters", rules, "admission")
    listed = rules[kind]
    keys = listed.get("learners", [])
    weights, names = listed.get("weights", [1] * len(keys)), listed.get("names", [""] * len(keys))
    return sha256(
        b"colearn/v2/terms\n",
        big(version, 4),
        creator,
        share("threshold"),
        choice("selection", "Selection"),
        number("proposal_deadline_ms", 8),
        number("vote_deadline_ms", 8),
        number("reveal_deadline_ms", 8),
        choice("close", "Close"),
        choice("ballot", "BallotKind"),
        number("min_learners", 4),
        if_there("max_rounds", lambda: number("max_rounds", 8)),
        if_there("patience", lambda: number("patience", 8)),
        if_there("missed_turns", lambda: number("missed_turns", 4)),
        if_there("idle_rotations", lambda: number("idle_rotations", 4)),
        if_there(
            "privacy",
            lambda: b"".join(
                big(int(rules["privacy"][it]), 8) for it in ("epsilon_micros", "delta_picos")
            ),
        ),
        number("max_weights_bytes", 8),
        if_there("governance_threshold", lambda: share("governance_threshold")),
        number("motion_deadline_ms", 8),
        bytes([not rules.get("stop_needs_motion", False)]),
        if_there("merging", lambda: merging(rules["merging"])),
        bytes([["open", "invited", "by_vote"].index(kind)]),
        big(len(keys), 4),
        *(
            base64.b64decode(key)
            + big(weights[place], 4)
            + bytes([place in listed.get("judges", [])])
            + big(len(names[place].encode()), 2)
            + names[place].encode()
            for place, key in enumerate(keys)
        ),
    )


# Entries, and following them.


def open_entry(data):
    """An entry in its one encoding, with its transaction's body where it has one."""
    try:
        entry = decode("Entry", data)
    except ValueError:
        raise Refused("Malformed") from None
    if encode("Entry", entry) != data:
        raise Refused("NotCanonical")
    kind = which("Entry", entry, "payload")
    if not kind:
        raise Refused("Malformed")
    if kind == "transaction":
        try:
            return entry, kind, open_transaction(entry[kind])
        except Refused as refused:
            raise Refused(f"Transaction.{refused}") from None
    if kind == "outcome":
        try:
            check_fields("Outcome", entry[kind])
        except ValueError:
            raise Refused("Field") from None
    if kind == "block":
        caught = entry[kind].get("misbehavior", [])
        if len(raw(entry[kind], "hash")) != 32 or len(raw(entry[kind], "proposer")) != 20:
            raise Refused("Field")
        if len(caught) > 64 or any(len(raw(it, "validator")) != 20 or not it.get("kind") for it in caught):
            raise Refused("Field")
    return entry, kind, None


def envelope(data):
    """Index, parent and time, the fields before an entry's payload."""
    try:
        message = decode("Entry", data)
    except ValueError:
        raise Refused("Broken.Malformed") from None
    entry = {field: message[field] for field in ("index", "parent", "time_ms") if field in message}
    if not data.startswith(encode("Entry", entry)) or len(raw(entry, "parent")) != 32:
        raise Refused("Broken.Malformed")
    return int(entry.get("index", 0)), raw(entry, "parent"), int(entry.get("time_ms", 0))


def is_within(limits):
    per_creator, all_of_them = (limits.get(it, 0) for it in ("experiments_per_creator", "experiments"))
    return per_creator and all_of_them and 10 <= int(limits.get("expiry_ms", 0)) <= 366 * 86_400_000


MAX_TIME_MS = 253_402_300_799_999
KNOWN_VERSIONS = (1, 2)


class Follower:
    """Follows a ledger, but for the contract."""

    def __init__(self, first):
        try:
            entry, kind, _ = open_entry(first)
        except Refused as refused:
            raise Refused(f"Record.{refused}") from None
        if kind != "genesis":
            raise Refused("OtherRecord")
        genesis = entry["genesis"]
        version, limits = genesis.get("contract_version", 0), genesis.get("limits")
        if version not in KNOWN_VERSIONS:
            raise Refused("Version")
        if (limits is not None) != (version > 1) or (limits and not is_within(limits)):
            raise Refused("Limits")
        self.keys = [(-1, Verifier(genesis.get("origin", ""), LOG, raw(genesis, "log_public_key")))]
        self.ledger = sha256(encode("Genesis", genesis))
        self.expiry_ms = int(limits["expiry_ms"]) if limits else None
        self.first, self.leaves, self.times, self.version = leaf_hash(first), [], [], version

    def root(self, size):
        return Tree(self.leaves).root(size)

    def follow(self, data):
        """Follows the next entry, or says why it cannot be that."""
        index, parent, time_ms = envelope(data)
        if index != len(self.leaves):
            raise Refused("Broken.Index")
        if parent != (self.leaves[-1] if self.leaves else bytes(32)):
            raise Refused("Broken.Parent")
        if self.times and time_ms < self.times[-1][0]:
            raise Refused("Broken.Time")
        if not self.leaves and leaf_hash(data) != self.first:
            raise Refused("OtherGenesis")
        if time_ms > MAX_TIME_MS:
            raise Refused("Time")
        try:
            entry, kind, body = open_entry(data)
        except Refused as refused:
            raise Refused(f"Record.{refused}") from None
        if kind == "genesis" and self.leaves:
            raise Refused("SecondGenesis")
        if kind == "transaction":
            self.check_transaction(entry[kind], body, time_ms)
        new_key = self.check_rotation(entry[kind]) if kind == "key_rotation" else None
        if kind == "upgrade":
            self.check_upgrade(entry[kind], time_ms)
        if new_key:
            self.keys.append((index, new_key))
        self.leaves.append(leaf_hash(data))
        self.times.append((time_ms, time_ms))
        return kind, entry[kind], body

    def check_transaction(self, signed, body, time_ms):
        try:
            verify_transaction(self.ledger, signed, body)
        except Refused as refused:
            raise Refused(f"Signature.{refused}") from None
        size = int(body["seen"].get("size", 0))
        if size > len(self.leaves) or self.root(size) != raw(body["seen"], "root"):
            raise Refused("Seen")
        if self.is_expired(size, time_ms):
            raise Refused("Expired")

    def is_expired(self, size, time_ms):
        """R71. The first entry that the signer has not seen decides."""
        unseen = self.expiry_ms and size < len(self.times)
        return bool(unseen) and time_ms - self.times[size][1] > self.expiry_ms

    def check_rotation(self, rotation):
        old, new = raw(rotation, "old_public_key"), raw(rotation, "new_public_key")
        current = self.keys[-1][1]
        if old != current.key:
            raise Refused("Rotation.OtherKey")
        if new == old or len(new) != 32 or not decompress(new):
            raise Refused("Rotation.BadKey")
        message = rotation_bytes(self.ledger, rotation)
        signed = {key: raw(rotation, f"{it}_signature") for it, key in (("old", old), ("new", new))}
        if not all(verifies(key, message, signature) for key, signature in signed.items()):
            raise Refused("Rotation.Unsigned")
        return Verifier(current.name, LOG, new)

    def check_upgrade(self, upgrade, time_ms):
        limits, key = upgrade.get("limits"), self.keys[-1][1].key
        if not limits or not is_within(limits):
            raise Refused("Upgrade")
        if not verifies(key, upgrade_bytes(self.ledger, upgrade), raw(upgrade, "signature")):
            raise Refused("Upgrade")
        if upgrade["contract_version"] <= self.version:
            raise Refused("Departure.NotAnUpgrade")
        self.version, self.expiry_ms = upgrade["contract_version"], int(limits["expiry_ms"])
        # What came before counts as recorded now: it was signed when nothing expired.
        self.times = [(recorded, time_ms) for recorded, _ in self.times]

    def confirm(self, note):
        """Whether a checkpoint is the ledger's word for what was followed."""
        try:
            size = parse_checkpoint(note, self.keys[0][1])[1]
            key = next(key for index, key in reversed(self.keys) if index < size)
            size, root = open_checkpoint(note, key)
        except Refused as refused:
            raise Refused(f"Note.{refused}") from None
        if size > len(self.leaves):
            raise Refused("Ahead")
        if self.root(size) != root:
            raise Refused("OtherRoot")


def first_keys(genesis):
    """The keys that sign a ledger's first checkpoints."""
    name, validators = genesis.get("origin", ""), genesis.get("validators", [])
    if "chain" in genesis:
        check_chain(genesis)
        return []
    if not validators:
        return [Verifier(name, LOG, raw(genesis, "log_public_key"))]
    demand(all(map(is_its_own, validators)), "a node that is not its own")
    names = [validator["name"] for validator in validators]
    demand(names == sorted(set(names)), "nodes by name")
    founding, time_ms = encode("Founding", {"validators": validators}), int(genesis["time_ms"])
    nonce = sha256(b"colearn/v1/network\n", founding, big(time_ms, 8))
    same(raw(genesis, "nonce"), nonce, "nonce")
    return [Verifier(name, LOG, raw(it, "log_public_key")) for it in validators]


def check_chain(genesis):
    """Whether a contract on a public chain has written this: no key signs for such a ledger."""
    chain = genesis["chain"]
    same(genesis.get("origin"), f"colearn/{chain['id']}/{chain['contract']}", "origin")
    demand(not {"log_public_key", "nonce", "validators"} & set(genesis), "a key beside the chain")
    demand(genesis["contract_version"] > 1 and int(genesis["time_ms"]) > 0, "version and time")
    keys = [raw({"key": key}, "key") for key in chain.get("creators", [])]
    demand(chain.get("open", False) == (not keys), "either creators, or open to all")
    demand(keys == sorted(set(keys)) and len(keys) <= 256, "creators, ascending")
    demand(1 <= chain["max_members"] <= 100_000, "members")


def is_its_own(validator):
    """Whether a node's description is signed by both its keys."""
    signatures = ("log_signature", "consensus_signature")
    bare = {key: value for key, value in validator.items() if key not in signatures}
    message = b"colearn/v1/validator\n" + encode("Validator", bare)
    return all(
        verifies(raw(validator, f"{it}_public_key"), message, raw(validator, f"{it}_signature"))
        for it in ("log", "consensus")
    )


def change_bytes(ledger, change):
    bare = {key: value for key, value in change.items() if key != "approvals"}
    return b"colearn/v1/validators\n" + ledger + encode("ValidatorChange", bare)


def rotation_bytes(ledger, rotation):
    keys = raw(rotation, "old_public_key") + raw(rotation, "new_public_key")
    return b"colearn/v1/key-rotation\n" + ledger + keys


def upgrade_bytes(ledger, upgrade):
    limits = upgrade["limits"]
    return b"".join(
        [
            b"colearn/v1/upgrade\n",
            ledger,
            big(upgrade["contract_version"], 4),
            big(limits["experiments_per_creator"], 4),
            big(limits["experiments"], 4),
            big(int(limits["expiry_ms"]), 8),
        ]
    )


# The files.


def check_signatures(file):
    for is_valid, cases in ((True, file["signatures"]), (False, file["refused"])):
        for case in cases:
            parts = (bytes.fromhex(case[it]) for it in ("public_key", "message", "signature"))
            same(verifies(*parts), is_valid, case["name"])


def check_transactions(file):
    ledger = bytes.fromhex(file["ledger"])
    seeds = {key["name"]: bytes.fromhex(key["seed"]) for key in file["keys"]}
    for key in file["keys"]:
        same(public_key(seeds[key["name"]]).hex(), key["public_key"], key["name"])
    for case in file["transactions"]:
        body = encode("Transaction", case["message"])
        check_fields("Transaction", case["message"])
        same(body.hex(), case["body"], case["name"])
        same(decode("Transaction", body), case["message"], case["name"])
        same(signed_bytes(ledger, body).hex(), case["signed_bytes"], case["name"])
        seed = seeds[case["signer"]]
        key, signature = public_key(seed), sign(seed, signed_bytes(ledger, body))
        same(signature.hex(), case["signature"], case["name"])
        texts = (base64.b64encode(it).decode() for it in (body, key, signature))
        signed = dict(zip(("body", "public_key", "signature"), texts, strict=True))
        same(encode("SignedTransaction", signed).hex(), case["encoding"], case["name"])
        digest = sha256(b"colearn/v1/transaction-digest\n", key, body)
        same(digest.hex(), case["digest"], case["name"])
        verify_transaction(ledger, signed, case["message"])
        if replace := case["message"].get("replace_key"):
            same(consent_bytes(ledger, key, replace).hex(), case["consent_bytes"], case["name"])
    for case in file["refused"]:
        refuses(case, read_transaction, ledger, bytes.fromhex(case["encoding"]))
    for case in file["ballots"]:
        voter = public_key(seeds[case["voter"]])
        encode("Vote", case["vote"])
        computed = commitment(ledger, case["version"], voter, case["vote"], bytes.fromhex(case["salt"]))
        same(computed.hex(), case["commitment"], case["name"])
    for kind, message, computes in (
        ("sealed_updates", "Update", update_commitment),
        ("sealed_merge_votes", "MergeVote", merge_vote_commitment),
    ):
        for case in file[kind]:
            same(encode(message, case["message"]).hex(), case["encoding"], case["name"])
            sender, salt = public_key(seeds[case["sender"]]), bytes.fromhex(case["salt"])
            computed = computes(ledger, sender, case["message"], salt)
            same(computed.hex(), case["commitment"], case["name"])
    for case in file["terms"]:
        encode("Parameters", case["parameters"])
        creator = public_key(seeds[case["creator"]])
        same(terms(case["version"], creator, case["parameters"]).hex(), case["terms"], case["name"])
    for case in file["chains"]:
        link, links = bytes.fromhex(case["secret"]), dict(case["links"])
        for left in range(1025):
            if stated := links.pop(str(left), None):
                same(link.hex(), stated, f"{case['name']} {left}")
            link = sha256(b"colearn/v2/link\n", link)
        demand(not links, "a chain has 1,024 links and an anchor")


def check_entries(file):
    for case in file["ledgers"]:
        data = encode("Genesis", case["genesis"])
        same(data.hex(), case["encoding"], case["name"])
        same(sha256(data).hex(), case["id"], case["name"])
        same(", ".join(map(str, first_keys(case["genesis"]))), case["verifier_key"], case["name"])
    parent, ledger, key = bytes(32), bytes.fromhex(file["ledgers"][0]["id"]), None
    for index, case in enumerate(file["entries"]):
        data = encode("Entry", case["message"])
        same(data.hex(), case["encoding"], case["name"])
        entry, kind, body = open_entry(data)
        same(envelope(data)[:2], (index, parent), case["name"])
        parent = leaf_hash(data)
        same(parent.hex(), case["leaf"], case["name"])
        if kind == "genesis":
            same(sha256(encode("Genesis", entry[kind])), ledger, case["name"])
        elif kind == "transaction":
            verify_transaction(ledger, entry[kind], body)
        elif kind == "key_rotation":
            message, key = rotation_bytes(ledger, entry[kind]), raw(entry[kind], "new_public_key")
            same(message.hex(), case["signed_bytes"], case["name"])
            for name in ("old", "new"):
                signature = raw(entry[kind], f"{name}_signature")
                demand(
                    verifies(raw(entry[kind], f"{name}_public_key"), message, signature), case["name"]
                )
        elif kind == "upgrade":
            message = upgrade_bytes(ledger, entry[kind])
            same(message.hex(), case["signed_bytes"], case["name"])
            demand(verifies(key, message, raw(entry[kind], "signature")), case["name"])
        elif kind == "validator_change":
            message = change_bytes(ledger, entry[kind])
            same(message.hex(), case["signed_bytes"], case["name"])
            for approval in entry[kind]["approvals"]:
                same(raw(approval, "key"), key, case["name"])
                demand(verifies(key, message, raw(approval, "signature")), case["name"])
            for validator in entry[kind]["found"]["validators"]:
                demand(is_its_own(validator), case["name"])
    for case in file["refused"]:
        refuses(case, open_entry, bytes.fromhex(case["encoding"]))


def check_tree(file):
    tree = Tree([leaf_hash(b"leaf %d" % index) for index in range(601)])
    for size, root in file["roots"].items():
        same(tree.root(int(size)).hex(), root, f"root of {size}")
    for case in file["inclusion"]:
        index, size = case["leaf"], case["size"]
        path = tree.inclusion(index, size)
        same([it.hex() for it in path], case["path"], f"leaf {index} of {size}")
        demand(
            is_included(tree.leaves[index], index, size, path, tree.root(size)),
            f"leaf {index} of {size}",
        )
    for case in file["consistency"]:
        old, new = case["old"], case["new"]
        path = tree.consistency(old, new)
        same([it.hex() for it in path], case["path"], f"{old} begin {new}")
        demand(is_begun(old, tree.root(old), new, tree.root(new), path), f"{old} begin {new}")
    unhex = bytes.fromhex
    for case in file["refused"]["inclusion"]:
        path = list(map(unhex, case["path"]))
        leaf, root = unhex(case["leaf"]), unhex(case["root"])
        demand(not is_included(leaf, case["index"], case["size"], path, root), case["name"])
    for case in file["refused"]["consistency"]:
        path = list(map(unhex, case["path"]))
        old_root, new_root = unhex(case["old_root"]), unhex(case["new_root"])
        demand(not is_begun(case["old"], old_root, case["new"], new_root, path), case["name"])


def check_notes(file):
    keys, seeds = {}, {}
    for case in file["keys"]:
        seeds[case["name"]] = seed = bytes.fromhex(case["seed"])
        kind = {"log": LOG, "witness": WITNESS}[case["kind"]]
        keys[case["name"]] = verifier = Verifier(case["signs_as"], kind, public_key(seed))
        same(verifier.id.hex(), case["key_id"], case["name"])
        same(str(verifier), case["verifier_key"], case["name"])
        same(str(Verifier.parse(case["verifier_key"])), case["verifier_key"], case["name"])
    tree = Tree([leaf_hash(b"leaf %d" % index) for index in range(301)])
    origin = keys["log"].name
    for case in file["checkpoints"]:
        root = tree.root(case["size"])
        same(root.hex(), case["root"], case["name"])
        text = f"{origin}\n{case['size']}\n{base64.b64encode(root).decode()}\n"
        same(text, case["text"], case["name"])
        for signature in case["signatures"]:
            verifier, time_s = keys[signature["key"]], signature.get("time_s", 0)
            same(verifier.signed(text, time_s), signature["signed"], case["name"])
            line = verifier.line(seeds[signature["key"]], text, time_s)
            same(line, signature["line"], case["name"])
        note = text + "\n" + "".join(signature["line"] for signature in case["signatures"])
        same(note, case["note"], case["name"])
        for signature in case["signatures"]:
            same(verify_note(note, keys[signature["key"]]), text, case["name"])
        same(open_checkpoint(note, keys["log"]), (case["size"], root), case["name"])
    for case in file["receipts"]:
        leaf = tree.leaves[case["index"]]
        same(leaf.hex(), case["leaf"], case["name"])
        index, path = verify_receipt(case["receipt"], leaf, keys[case["key"]])
        same((index, [it.hex() for it in path]), (case["index"], case["path"]), case["name"])
    refused = file["refused"]
    for case in refused["verifier_keys"]:
        refuses(case, Verifier.parse, case["verifier_key"])
    for case in refused["notes"]:
        verifier = Verifier.parse(case["verifier_key"])
        check = open_checkpoint if verifier.kind == LOG else verify_note
        refuses(case, check, case["note"], verifier)
    for case in refused["receipts"]:
        verifier, leaf = Verifier.parse(case["verifier_key"]), bytes.fromhex(case["leaf"])
        refuses(case, verify_receipt, case["receipt"], leaf, verifier)


class Rounds:
    """Counts the votes of a ledger whose members have one each, and follows the model."""

    def __init__(self):
        self.judged, self.electorate, self.decided = {}, {}, None
        self.closed, self.votes, self.model, self.weights, self.threshold = [], {}, {}, {}, {}

    def take(self, after, kind, record, body):
        if kind == "transaction":
            action = which("Transaction", body, "action")
            what = body[action]
            if action == "create_experiment":
                self.model[what["name"]] = raw(what["model"], "digest").hex()
                self.threshold[what["name"]] = what["parameters"]["threshold"]
            vote = what if action == "vote" else what["vote"] if action == "reveal" else None
            if action == "merge_vote":
                self.judged.setdefault(what["experiment"], []).append(what)
            if vote:
                choice = "approvals" if vote.get("approve") else "rejections"
                choice = "abstentions" if vote.get("abstain") else choice
                self.votes.setdefault(vote["experiment"], []).append(choice)
        if kind != "outcome":
            return
        name = record["experiment"]
        if opened := record.get("voting_opened"):
            self.weights[name] = raw(opened, "weights").hex()
        if opened := record.get("round_opened") or record.get("training_opened"):
            self.votes[name], self.weights[name], self.judged[name] = [], None, []
            same(raw(opened, "base").hex(), self.model[name], f"base of round {opened['round']}")
        if opened := record.get("merge_voting_opened"):
            self.electorate[name] = opened["electorate"]
        merged = None
        if decided := record.get("merge_decided"):
            self.decided = self.judge(name, decided)
        if closed := record.get("round_closed"):
            counts = {
                it: self.votes[name].count(it) for it in ("approvals", "rejections", "abstentions")
            }
            if self.judged[name]:
                (merged, self.weights[name]), counts = self.decided[:2], self.decided[2]
            for field, count in counts.items():
                same(count, closed.get(field, 0), f"{field} of round {closed['round']}")
            verdict = closed["verdict"].removeprefix("VERDICT_").lower()
            electorate = closed.get("electorate", 0)
            if merged:
                same(verdict, merged, f"round {closed['round']}")
            elif self.weights[name]:
                same(
                    verdict,
                    self.verdict(name, counts["approvals"], electorate),
                    f"round {closed['round']}",
                )
            if verdict == "accepted":
                self.model[name] = self.weights[name]
            same(raw(closed, "model").hex(), self.model[name], f"model of round {closed['round']}")
            told = {
                "after": after,
                "experiment": name,
                "round": int(closed["round"]),
                "verdict": verdict,
            }
            self.closed.append({**told, **counts, "electorate": electorate, "model": self.model[name]})

    def judge(self, name, decided):
        """R82 to R84, without checkers: the verdict, the model that is accepted, and how it is told."""
        votes, electorate = self.judged[name], self.electorate[name]
        pairs = [tuple(raw(vote.get("merges", {}), it) for it in ("open", "guarded")) for vote in votes]
        named = [pair for pair in pairs if any(pair)]
        pair = max(named, key=named.count, default=None)
        agreed = pair is not None and 2 * named.count(pair) > electorate
        told = tuple(raw(decided.get("agreed", {}), it) for it in ("open", "guarded"))
        same(told, pair if agreed else (b"", b""), f"what is agreed on in round {decided['round']}")
        count = {
            it: sum(vote.get(it, False) for vote, its in zip(votes, pairs) if its == pair)
            for it in ("bear_open", "bear_guarded", "prefer_guarded")
        }
        for field, votes_for in {**count, "named": named.count(pair)}.items():
            same(votes_for, decided.get(field, 0), f"{field} of round {decided['round']}")
        abstentions = len(pairs) - len(named)

        def told_as(verdict, model, approvals):
            rejections = len(named) - approvals
            counts = {"approvals": approvals, "rejections": rejections, "abstentions": abstentions}
            return verdict, model, counts

        if not agreed:
            return told_as("no_agreement", None, 0)
        bearable = [
            bool(merge) and self.verdict(name, bear, electorate) == "accepted"
            for merge, bear in zip(pair, (count["bear_open"], count["bear_guarded"]))
        ]
        if bearable[1] and (not bearable[0] or 2 * count["prefer_guarded"] > electorate):
            return told_as("accepted", pair[1].hex(), count["bear_guarded"])
        if bearable[0]:
            return told_as("accepted", pair[0].hex(), count["bear_open"])
        return told_as("rejected", None, max(count["bear_open"], count["bear_guarded"]))

    def verdict(self, name, approvals, electorate):
        share = self.threshold[name]
        reached, needed = approvals * share["denominator"], electorate * share["numerator"]
        accepted = reached > needed or (reached == needed and not share.get("strict"))
        return "accepted" if accepted else "rejected"


def check_histories(file):
    for history in file["histories"]:
        entries = [bytes.fromhex(entry) for entry in history["entries"]]
        refused = sorted(history["refused"], key=lambda case: case["after"])
        same(refused, history["refused"], "the order of what is refused")
        follower, rounds = Follower(entries[0]), Rounds()
        same(follower.ledger.hex(), history["ledger"], history["name"])
        for after in range(len(entries) + 1):
            for case in refused:
                if case["after"] == after:
                    check_refused(follower, case)
            if after < len(entries):
                rounds.take(after + 1, *follower.follow(entries[after]))
        same(rounds.closed, history["rounds"], history["name"])
        for note in history["checkpoints"]:
            follower.confirm(note)
        demand(
            parse_checkpoint(note, follower.keys[0][1])[1] == len(entries),
            "the last checkpoint counts all",
        )


def check_refused(follower, case):
    """What the contract refuses is a transaction all the same: only its rule speaks against it."""
    body = read_transaction(follower.ledger, bytes.fromhex(case["transaction"]))
    size = int(body["seen"].get("size", 0))
    same(follower.root(size), raw(body["seen"], "root"), case["name"])
    same(follower.is_expired(size, case["time_ms"]), case["rule"] == 71, case["name"])


def check_refusals(file):
    entries = [bytes.fromhex(entry) for entry in file["entries"]]

    @cache
    def follow(size):
        # Once for all cases: what is refused must leave a follower as it was.
        follower = Follower(entries[0])
        for entry in entries[:size]:
            follower.follow(entry)
        return follower

    refused = file["refused"]
    for case in refused["first_entries"]:
        refuses(case, Follower, bytes.fromhex(case["entry"]))
    for case in refused["entries"]:
        follower, entry = follow(case["after"]), bytes.fromhex(case["entry"])
        if case["reason"] in CONTRACT_ONLY:
            # All that can be said without the contract speaks for it.
            follower.follow(entry)
            follow.cache_clear()
        else:
            refuses(case, follower.follow, entry)
    for case in refused["checkpoints"]:
        follower = follow(case["after"])
        refuses(case, follower.confirm, case["note"])
    follow(len(entries))


CONTRACT_ONLY = ("Departure.OtherOutcome", "Departure.Refused.R7")

FILES = {
    "signatures.json": check_signatures,
    "transactions.json": check_transactions,
    "entries.json": check_entries,
    "tree.json": check_tree,
    "notes.json": check_notes,
    "histories.json": check_histories,
    "refusals.json": check_refusals,
    "merges.json": lambda file: check_merges(file, same),
}


def check(path):
    """Checks one file, and says what is wrong with it."""
    data = path.read_bytes()
    sums = path.parent / "SHA256SUMS"
    if sums.exists():
        line = f"{hashlib.sha256(data).hexdigest()}  {path.name}"
        demand(line in sums.read_text().splitlines(), "not the file that SHA256SUMS lists")
    FILES[path.name](json.loads(data))


def main():
    failed = 0
    for folder in map(Path, sys.argv[1:] or [HERE]):
        paths = sorted(folder.glob("*.json"))
        if not paths:
            print(f"{folder}: no vectors")
            failed += 1
        for path in paths:
            try:
                check(path)
                print(f"{path}: ok")
            except Exception as error:  # Whatever it stumbles over, the file is not as it should be.
                failed += 1
                print(f"{path}: {type(error).__name__}: {error}".replace("\n", " "))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
