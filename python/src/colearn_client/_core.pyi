"""The extension, in Rust: what the package does not do itself. Its functions are for the package."""

import os
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, final

from typing_extensions import Self, Unpack

from .learner import Learner
from .nodes import Node
from .pins import ChainPins, Reach, Trust

__all__ = [
    "Client",
    "Key",
    "Weights",
    "audit",
    "checkpoint",
    "derive",
    "encode",
    "entries",
    "epsilon",
    "experiments",
    "main",
    "model_get",
    "model_predict",
    "model_schema",
    "model_show",
    "model_verify",
    "noise_multiplier",
    "run",
    "run_local",
    "simulate",
    "sweep",
]

_Path = str | os.PathLike[str]

@final
class Weights:
    """The bytes of a model, with their digest.

    ``np.asarray(weights)`` reads them without a copy.

    Parameters
    ----------
    data
        The bytes, in the format that the experiment's media type says. Whatever is not ``bytes``,
        such as a ``bytearray``, is copied.
    """

    def __new__(cls, data: bytes | bytearray | memoryview) -> Self: ...
    @staticmethod
    def open(path: _Path) -> Weights:
        """Those of a file, which stay there and take no memory of the process's own.

        As long as they are used, nobody may write to the file or cut it; to replace it or to remove it
        does no harm.
        """
    @property
    def data(self) -> bytes:
        """The bytes. Those that came from a node are copied at each time."""
    @property
    def digest(self) -> bytes:
        """Their SHA-256, 32 bytes."""
    @property
    def __array_interface__(self) -> dict[str, Any]: ...
    def __len__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]: ...

@final
class Key:
    """A private key. It never shows what it is."""

    @staticmethod
    def generate() -> Key:
        """A new key, from the system's random numbers."""
    @staticmethod
    def load(path: _Path, passphrase: str | None = None) -> Key:
        """The key in a place: a file, ``agent:COMMENT`` or ``exec:COMMAND``. An encrypted file opens
        with the passphrase, or that in the environment's ``COLEARN_KEY_PASSPHRASE``."""
    @staticmethod
    def load_or_create(path: _Path) -> Key:
        """The key in a place; in a file that does not exist one is made."""
    def save_new(self, path: _Path) -> None:
        """Writes the key to a new file that nobody else can read."""
    def memory_beside(self, path: _Path) -> str:
        """The folder that a key has by default for what must survive a restart: beside its file, or
        the user's."""
    @property
    def public(self) -> bytes:
        """The public key, 32 bytes: who the learner is."""

@final
class Client:
    """A connection to a node that follows its ledger, and believes what follows from that.

    No thread works on it between calls, and it belongs to the process that made it.

    Parameters
    ----------
    node
        The node's address, such as ``http://127.0.0.1:7400``; those of several that keep the ledger as
        a list, or with commas: when one will not do, it goes on at the next.
    key
        Whose memory it is.
    memory
        The key's folder, in which what was followed and receipts are kept; by default nothing is.
    plan
        A plan's text, which may say whom to believe.
    **pins
        Whom to believe, where the plan does not say: see :class:`~colearn_client.pins.Trust`.
    """

    def __new__(
        cls,
        node: Node,
        key: Key | None = None,
        memory: _Path | None = None,
        *,
        plan: str | None = None,
        **pins: Unpack[Trust],
    ) -> Self: ...
    def close(self) -> None:
        """Closes the connection."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = ...,
        raised: BaseException | None = ...,
        trace: TracebackType | None = ...,
        /,
    ) -> None: ...
    @property
    def url(self) -> str:
        """The address of the node that is spoken to."""
    @property
    def ledger_id(self) -> str:
        """Which ledger the node keeps: the digest of its first entry, in hexadecimal."""
    @property
    def verifier(self) -> str:
        """The key that verifies its checkpoints."""
    @property
    def contract_version(self) -> int:
        """The version of the rules that new experiments follow."""
    @property
    def size(self) -> int:
        """How many entries were followed."""
    def upload(self, weights: Weights) -> None:
        """Uploads weights unless the node has them."""
    def download(self, digest: bytes, size: int, folder: _Path | None = None) -> Weights:
        """Downloads weights of this digest (32 bytes) and size, and verifies them.

        From 16 MiB on they come into a file of the folder, if one is given, and not into memory. It is
        named by the digest in hexadecimal, and what it has of them already, from a transfer that was
        broken off, does not come again.
        """
    def experiment(self, name: str) -> dict[str, Any]:
        """An experiment, as it follows from the ledger."""
    def experiments(self) -> list[dict[str, Any]]:
        """All experiments without their members, as they follow from the ledger."""
    def create(
        self,
        name: str,
        key: Key,
        weights: Weights,
        media_type: str,
        plan: str,
        agreed: bool,
        model_keys: _Path | None,
    ) -> tuple[int, str, str]: ...
    def move_motion(
        self,
        name: str,
        key: Key,
        what: str,
        *,
        learner: str | None = None,
        weight: int = 1,
        judge: bool = False,
        called: str | None = None,
        rules: str | None = None,
        version: int | None = None,
    ) -> int: ...
    def vote_on_motion(self, name: str, number: int, approve: bool, key: Key) -> int: ...
    def leave(self, name: str, key: Key, *, renounce: bool = False) -> int: ...
    def resume(self, name: str, key: Key) -> int: ...
    def stop(self, name: str, key: Key) -> int: ...
    def evaluate(
        self, name: str, key: Key, measures: dict[str, float], *, model: str | None = None
    ) -> int: ...

def main(arguments: Sequence[str], python: str) -> int: ...
def run(
    learner: Learner,
    *,
    node: Node,
    experiment: str,
    key: Key,
    name: str | None,
    terms: str | None,
    plan: str | None,
    policy: _Path | None,
    model_keys: _Path | None,
    data: _Path | None,
    patience: float | None,
    pins: Trust,
    begin: Callable[[int | None], None],
    tell: Callable[[str, str, int | None], None],
    failed: Callable[[str, BaseException], None],
) -> tuple[str, str, int]: ...
def run_local(
    learners: list[Learner],
    *,
    plan: str | None,
    rounds: int | None,
    begin: Callable[[int | None], None],
    tell: Callable[[int, str | None], None],
    failed: Callable[[str, BaseException], None],
) -> dict[str, Any]: ...
def experiments(place: str, *, reach: Reach) -> dict[str, dict[str, Any]]: ...
def entries(place: str, *, reach: Reach) -> list[bytes]: ...
def checkpoint(place: str, *, reach: Reach) -> str: ...
def audit(
    place: str,
    *,
    pins: ChainPins,
    receipts: _Path | None,
    since: Sequence[_Path],
    level: str,
    tell: Callable[[int, int], None] | None,
) -> tuple[dict[str, Any], str, int]: ...
def model_show(path: _Path) -> dict[str, Any]: ...
def model_get(
    experiment: str,
    place: str,
    out: _Path,
    *,
    round: int | None,
    best: bool,
    pins: ChainPins,
    tell: Callable[[int, int], None] | None,
) -> dict[str, Any]: ...
def model_predict(path: _Path, *, file: _Path | None, table: str | None) -> dict[str, Any]: ...
def model_verify(
    path: _Path,
    place: str,
    experiment: str | None,
    *,
    pins: ChainPins,
    tell: Callable[[int, int], None] | None,
) -> dict[str, Any]: ...
def simulate(
    scenario: str,
    *,
    folder: _Path | None,
    learners: list[Learner] | None,
    make: Callable[..., Learner | None] | None,
    attack: Callable[..., bytes] | None,
    merge: Callable[..., bytes | None] | None,
    tell: Callable[[int, str | None, float | None], None] | None,
    failed: Callable[[str, BaseException], None],
) -> dict[str, Any]: ...
def sweep(scenario: str, varied: list[str], seeds: int) -> list[tuple[bool, bool, list[str]]]: ...
def epsilon(segments: list[tuple[float, float, int]], delta: float) -> float: ...
def noise_multiplier(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float: ...
def derive(table: str, label: str, ignore: list[str], regression: bool | None) -> str: ...
def encode(schema: str, table: str) -> tuple[int, bytes, bytes, bool]: ...
def model_schema(weights: Weights) -> str: ...
