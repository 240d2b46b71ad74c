"""The public formats: RFC 6962 trees, C2SP notes, checkpoints and receipts."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from colearn_client import chain, keys
from colearn_client._proto import coordinator_pb2 as coordinator
from colearn_client.errors import KeyFileError, MalformedError, NoteError
from colearn_client.note import Checkpoint, Receipt, Verifier, open_note
from colearn_client.tree import (
    EMPTY_ROOT,
    TreeBuilder,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [
    bytes.fromhex(text)
    for text in [
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The log of RFC 8032's first test key, entry i being "entry-<i>".
VKEY = "colearn.example/ledger/test+f4cbd379+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
NOTE = (
    "colearn.example/ledger/test\n7\nkTlgHMHKirKnoMLBNMBIRfKxulSag9bIRc/NpDnMWF0=\n\n"
    "— colearn.example/ledger/test 9MvTeTa92ZQC/8QjLVtNZI86UkA0B+k8nSL3CJ5g9fc0rQA9fXxFLy3azQNoPcTX"
    "b4xcaKyv+vovIiEieBilnNrztQw=\n"
)
INCLUSION_5_IN_7 = [
    "GUu1otW9EOXRqm/V1CmAs1bK8dpiPNmYfEv6L4F3Htc=",
    "DP2ldv9LKeozw6/a7tG9Y362VLKKBDAvyrX9fbB4Acw=",
    "JWueiCXl03CkrgBdCQHqKRl34pJ/XPjj5yZg3QlRnts=",
]
CONSISTENCY_3_TO_7 = [
    "BJ19zbVrz+vTEzBMmDnxlqPUtu873AsIKY+TrIGR8Kg=",
    "J0ebarMh0u5HdFL2i6UndI6GPK/o+9HfK/idFXDRtpc=",
    "LyelCCwdQq+kiKw1Cp/EOQwIT1T3Hs3/hZ6Y24QptHk=",
    "5CnFtcyqlSPDcpfxhGdm+QMTfoIZXFGZ5r5XEw0QBsg=",
]


def decode(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


def root_of(leaves: list[bytes]) -> bytes:
    builder = TreeBuilder()
    for leaf in leaves:
        builder.push(leaf_hash(leaf))
    return builder.root()


def subtree(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it stands there."""
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(subtree(leaves[:split]), subtree(leaves[split:]))


def path(at: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if at < split:
        return [*path(at, leaves[:split]), subtree(leaves[split:])]
    return [*path(at - split, leaves[split:]), subtree(leaves[:split])]


def proof(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [subtree(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= split:
        return [*proof(old, leaves[:split], whole), subtree(leaves[split:])]
    return [*proof(old - split, leaves[split:], False), subtree(leaves[:split])]


def test_roots_are_those_of_the_vectors() -> None:
    assert root_of([]) == EMPTY_ROOT == hashlib.sha256(b"").digest()
    for size, root in enumerate(ROOTS, 1):
        assert root_of(LEAVES[:size]).hex() == root
    leaf = "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert leaf_hash(b"L123456").hex() == leaf


def test_proofs_hold_and_nothing_else_does() -> None:
    leaves = [f"leaf {at}".encode() for at in range(33)]
    for size in range(1, 34):
        some, root = leaves[:size], subtree(leaves[:size])
        for at in range(size):
            way = path(at, some)
            leaf = leaf_hash(leaves[at])
            assert verify_inclusion(leaf, at, size, way, root)
            assert not verify_inclusion(leaf, at, size, [*way, root], root)
            assert not verify_inclusion(leaf, at, size, way, leaf_hash(b"x"))
            assert not verify_inclusion(leaf, at + 1, size, way, root) or size == 1
            if way:
                assert not verify_inclusion(leaf, at, size, way[:-1], root)
        for old in range(1, size + 1):
            way, old_root = proof(old, some), subtree(leaves[:old])
            assert verify_consistency(old, old_root, size, root, way), (old, size)
            assert not verify_consistency(old, leaf_hash(b"x"), size, root, way)
            assert not verify_consistency(old, old_root, size, leaf_hash(b"x"), way)
            if way:
                assert not verify_consistency(old, old_root, size, root, way[:-1])
                assert not verify_consistency(old, old_root, size, root, [*way, root])


def test_the_vectors_of_the_log_hold() -> None:
    verifier = Verifier.parse(VKEY)
    assert str(verifier) == VKEY
    checkpoint = Checkpoint.open(NOTE, verifier)
    assert checkpoint.size == 7
    leaf = leaf_hash(b"entry-5")
    assert verify_inclusion(leaf, 5, 7, decode(INCLUSION_5_IN_7), checkpoint.root)
    root_3 = base64.b64decode("pkvybgkSj2/i/m+LLYyAHhZrV8BHp82bK4Ceepai8cs=")
    assert verify_consistency(3, root_3, 7, checkpoint.root, decode(CONSISTENCY_3_TO_7))
    receipt = Receipt(5, decode(INCLUSION_5_IN_7), NOTE)
    assert Receipt.parse(receipt.to_text()) == receipt
    receipt.verify(leaf, verifier)
    with pytest.raises(NoteError, match="does not lead to"):
        receipt.verify(leaf_hash(b"entry-4"), verifier)
    witness = Verifier.parse("witness.example/w1+04d2d833+BD1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM")
    line = (
        "— witness.example/w1 BNLYMwAAAABlU/EAISy9Mw6MUcVgPeg/qUoBC9FWBdh4i2iLprolWw8KLSM9dTm70toimXKH"
        "8zjYub23CT6ulBTilFotbW0d7WHkDA==\n"
    )
    open_note(NOTE + line, witness)


def test_the_note_of_the_specification_verifies_and_changed_ones_do_not() -> None:
    verifier = Verifier.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = (
        "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONn"
        "cAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    assert open_note(note, verifier) == "This is an example message.\n"
    with pytest.raises(NoteError, match="does not verify"):
        open_note(note.replace("example message", "exemplary message"), verifier)
    for broken in [note[:-1], note.replace("\n\n", "\n"), note.replace("Uw2Q", "!!!!"), ""]:
        with pytest.raises(NoteError):
            open_note(broken, verifier)
    for text in ["", "a+b", "a+00000000+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "a+b+c"]:
        with pytest.raises(NoteError):
            Verifier.parse(text)
    origin = "colearn.example/ledger/test\n"
    for text in ["x\n07\nAA==\n", "x\n7\n", "\n7\n" + "A" * 43 + "=\n", origin + "7\nAAAA\n"]:
        with pytest.raises(NoteError):
            Checkpoint.parse(text)


def test_key_files_are_private_and_shared_with_the_program(tmp_path) -> None:
    from conftest import colearn

    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    key = Ed25519PrivateKey.generate()
    keys.save_new(key, ours)
    assert colearn("key", "show", str(ours)).strip() == keys.public_bytes(key).hex()
    public = colearn("key", "new", str(theirs)).strip()
    assert keys.public_bytes(keys.load(theirs)).hex() == public
    with pytest.raises(KeyFileError, match="is not overwritten"):
        keys.save_new(key, ours)
    ours.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        keys.load(ours)
    with pytest.raises(KeyFileError, match="make one with"):
        keys.load(tmp_path / "none.pem")
    (tmp_path / "garbage.pem").write_bytes(b"garbage")
    (tmp_path / "garbage.pem").chmod(0o600)
    with pytest.raises(KeyFileError, match="is not an Ed25519"):
        keys.load(tmp_path / "garbage.pem")


def test_chain_is_that_of_the_rust_client() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes([7] * 32))
    ledger_id = bytes([3] * 32)
    anchor = chain.next_link(key, ledger_id, "digits", 4, None)
    assert anchor.hex() == "9e9b6c8ca1b8169fa9a9ebca1243f8fe2d9dfcdcc0277f1c775f2f803e83382a"
    shown = coordinator.Chain(link=anchor, left=chain.LINKS, anchored=4)
    revealed = chain.next_link(key, ledger_id, "digits", 5, shown)
    assert chain.link(revealed, 1) == anchor
    # Of another chain, or out of turn, nothing is revealed.
    for wrong in (
        coordinator.Chain(link=anchor, left=chain.LINKS - 1, anchored=4),
        coordinator.Chain(link=anchor, left=chain.LINKS, anchored=3),
        coordinator.Chain(link=anchor, left=2**32 - 1, anchored=4),
    ):
        with pytest.raises(MalformedError):
            chain.next_link(key, ledger_id, "digits", 5, wrong)
    # When all links are revealed another chain begins.
    spent = coordinator.Chain(link=revealed, left=0, anchored=4)
    assert chain.next_link(key, ledger_id, "digits", 4, spent) == anchor
