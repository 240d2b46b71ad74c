"""Weights, keys and tables: what the package and the program both read and write."""

import pickle
import sys

import numpy as np
import pytest
from conftest import colearn
from lacking import need

from colearn_client import Key, Schema, Weights, arrays, keys
from colearn_client.errors import (
    KeyFileError,
    ModelError,
    NotFiniteError,
    SchemaError,
    SignerError,
)
from colearn_client.experiments import stop


def test_weights_are_read_without_a_copy_and_go_through_pickles() -> None:
    data = bytes(range(256)) * 4000
    weights = Weights(data)
    assert weights.data is data and len(weights) == len(data)
    view = np.asarray(weights)
    assert view.tobytes() == data and not view.flags.writeable
    assert view.__array_interface__["data"][0] == np.frombuffer(data, np.uint8).ctypes.data
    # Views outlive what they are of.
    del weights, data
    assert view[255] == 255
    again = Weights(bytearray(view))
    assert pickle.loads(pickle.dumps(again)) == again and hash(again) == hash(Weights(again.data))
    assert again != Weights(b"") and "1024000 bytes" in repr(again)
    assert Weights(memoryview(b"abcd")[::2]).data == b"ac"
    for wrong in ["text", 5, None]:
        with pytest.raises(TypeError):
            Weights(wrong)


def test_large_weights_lie_in_files_that_leave_nothing_behind(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    large = {"b": np.arange(1 << 22, dtype=np.float32), "a": np.ones(3, np.int64)}
    weights = arrays.save(large, {"made": "here"})
    assert len(weights) > 16 << 20 and list(tmp_path.iterdir()) == []
    for name, array in arrays.load(weights).items():
        assert np.array_equal(array, large[name])
    assert arrays.save(large, {"made": "here"}) == weights
    assert Weights(weights.data) == weights and pickle.loads(pickle.dumps(weights)) == weights
    file = tmp_path / "model"
    file.write_bytes(weights.data)
    assert Weights.open(file) == weights
    with pytest.raises(FileNotFoundError):
        Weights.open(tmp_path / "none")


def test_arrays_are_laid_out_as_the_program_lays_them_out() -> None:
    # Written by the safetensors crate: bias before weight, and a header of whole 8 bytes.
    named = {"w": np.ones((2, 2), np.float32), "b": np.zeros(1, np.float32), "n": np.uint8([7])}
    saved = arrays.save(named, {"k": "v"}).data
    length = int.from_bytes(saved[:8], "little")
    assert length % 8 == 0 and len(saved) == 8 + length + 21
    assert saved[8 : 8 + length].rstrip() == (
        b'{"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"w":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]},'
        b'"n":{"dtype":"U8","shape":[1],"data_offsets":[20,21]}}'
    )
    assert arrays.metadata(Weights(saved)) == {"k": "v"}
    halves = np.array([0x3FC0, 0xBF80], np.uint16).view(np.int16)
    back = arrays.load(arrays.save({"h": halves}, bfloat16=frozenset({"h"})))["h"]
    assert back.dtype == np.float32 and back.tolist() == [1.5, -1.0]


def test_what_are_no_arrays_is_refused() -> None:
    good = arrays.save({"w": np.ones(3, np.float32)}).data

    def header(text: bytes, body: bytes = b"") -> bytes:
        return len(text).to_bytes(8, "little") + text + body

    tensor = b'{"w":{"dtype":"%s","shape":[%s],"data_offsets":[%s]}}'
    for bad in [
        *[b"", b"garbage", b"\xff" * 100, good[:-1], good + b"x", header(b"[]"), header(b"{")],
        *[header(b"[" * 100_000), header(b'{"__metadata__":3}', b"x"), header(b'{"w":3}')],
        header(tensor % (b"F32", b"1", b"0,8"), bytes(8)),
        header(tensor % (b"F32", b"2", b"4,12"), bytes(12)),
        header(tensor % (b"F32", b"-1", b"0,4"), bytes(4)),
        header(tensor % (b"F32", b"1e9", b"0,4"), bytes(4)),
        header(tensor % (b"X99", b"1", b"0,4"), bytes(4)),
        header(tensor % (b"F32", b"1", b"0,99999999999999"), bytes(4)),
    ]:
        with pytest.raises(ModelError, match="not in the safetensors format"):
            arrays.load(Weights(bad))
    for value in [np.nan, np.inf, complex(0, np.nan)]:
        kind = np.complex64 if isinstance(value, complex) else np.float16
        broken = arrays.save({"w": np.full(3, value, kind)})
        with pytest.raises(NotFiniteError, match="'w'"):
            arrays.load(broken)
    with pytest.raises(ModelError, match="cannot hold"):
        arrays.save({"w": np.array(["text"])})


def test_key_files_are_private_and_shared_with_the_program(tmp_path) -> None:
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    key = Key.generate()
    keys.save_new(key, ours)
    assert colearn("key", "show", str(ours)).strip() == keys.public_bytes(key).hex()
    public = colearn("key", "new", str(theirs)).strip()
    assert keys.public_bytes(keys.load(theirs)).hex() == public
    assert public in repr(keys.load_or_create(theirs))
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


#: Signs with the key in a file, as docs/keys.md has it.
SIGN = """
import sys
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
if sys.argv[2] == "public":
    print(key.public_key().public_bytes_raw().hex())
else:
    print(key.sign(sys.stdin.buffer.read()).hex())
"""


def test_a_key_may_be_behind_a_command(tmp_path, monkeypatch, node, create) -> None:
    need("cryptography")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    file = create("x", "--creator-may-stop")
    script = tmp_path / "sign.py"
    script.write_text(SIGN)
    place = f"exec:{sys.executable} {script} {file}"
    key = keys.load(place)
    public = keys.public_bytes(key).hex()
    assert public == keys.public_bytes(keys.load(file)).hex()
    assert stop(node, "x", place) > 0
    assert (tmp_path / "state" / "colearn" / public / "memory.json").is_file()
    with pytest.raises(KeyFileError, match="is kept elsewhere"):
        keys.save_new(key, tmp_path / "copy.pem")
    with pytest.raises(KeyFileError, match="cannot run"):
        keys.load("exec:/nowhere/sign")
    with pytest.raises(KeyFileError, match="ssh-agent"):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        keys.load("agent:ann")
    # It signs no more: a command that does the wrong thing is told when it is asked.
    script.write_text(SIGN.replace("key.sign(sys.stdin.buffer.read())", "bytes(64)"))
    with pytest.raises(SignerError, match="does not verify"):
        stop(node, "x", place)


def test_tables_are_encoded_as_files_are(tmp_path) -> None:
    pandas = need("pandas")
    frame = pandas.DataFrame(
        {
            "id": range(6),
            "age": [20, 30, 40, 50, 60, 70],
            "town": ["Bern", "Rom", "Rom", "Bern", "Oslo", "Rom"],
            "ill": ["no", "no", "yes", "yes", "no", "yes"],
        }
    )
    schema = Schema.derive(frame, "ill", ignore=["id"])
    frame.to_csv(tmp_path / "table.csv", index=False)
    given = [str(tmp_path / "table.csv"), "--label", "ill", "--ignore", "id"]
    written = tmp_path / "schema.json"
    written.write_text(colearn("data", "schema", *given))
    assert Schema.read(written) == schema and schema.classes == ["no", "yes"]
    inputs, targets = schema.encode(frame)
    assert inputs.dtype == np.float32 and inputs.shape == (6, 4)
    age = (frame["age"] - frame["age"].mean()) / frame["age"].std(ddof=0)
    assert np.allclose(inputs[:, 0], age, atol=1e-5)
    assert inputs[4, 1:].tolist() == [0, 1, 0] and targets.tolist() == [0, 0, 1, 1, 0, 1]
    assert np.array_equal(schema.inputs(frame.drop(columns="ill")), inputs)
    with pytest.raises(SchemaError, match=r"'town'|\"town\".*\"Paris\""):
        schema.encode(frame.assign(town="Paris"))
    with pytest.raises(SchemaError, match="the schema"):
        Schema('{"features": 3}').encode(frame)
    with pytest.raises(SchemaError, match="cannot read"):
        Schema.read(tmp_path / "none.json")
