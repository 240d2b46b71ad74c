"""A connection to a node that verifies what the node says."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from . import transaction
from ._proto import artifact_pb2 as artifact
from ._proto import coordinator_pb2 as coordinator
from ._proto import ledger_pb2 as ledger
from ._proto import types_pb2 as types
from .errors import (
    AddressError,
    ArtifactError,
    ColearnError,
    ForkError,
    MalformedError,
    NoteError,
    OtherLedgerError,
    ReceiptError,
    RefusedError,
    UnreachableError,
)
from .learner import Weights
from .memory import Memory
from .note import Checkpoint, Receipt, UnsignedError, Verifier
from .rotation import LogKeys
from .tree import leaf_hash, verify_consistency, verify_inclusion

CHUNK_BYTES = 1 << 18
_MAX_MESSAGE = 8 << 20
_TRIES = 5
_UNARY_TIMEOUT = 60.0
_RULE = "colearn-rule"
#: The latest version of the contract's rules that this package knows; every call says so.
CONTRACT_VERSION = 2
_METADATA = (("colearn-contract", str(CONTRACT_VERSION)),)

T = TypeVar("T")


class Client:
    """A connection to a node.

    Args:
        url: The node's address, such as ``http://127.0.0.1:7400``.
        memory: What the learner remembers; checkpoints must continue the one in it.

    Raises:
        UnreachableError: If the node cannot be reached.
        OtherLedgerError: If it keeps another ledger than ``memory`` knows.
        ForkError: If its history does not continue what ``memory`` has seen.
    """

    def __init__(self, url: str, memory: Memory | None = None) -> None:
        self.url = url if "://" in url else f"http://{url}"
        self.memory = memory if memory is not None else Memory()
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AddressError(url)
        secure = parts.scheme == "https"
        target = f"{parts.hostname}:{parts.port or (443 if secure else 80)}"
        options = [
            ("grpc.max_receive_message_length", _MAX_MESSAGE),
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.enable_retries", 0),
        ]
        self._channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
            if secure
            else grpc.insecure_channel(target, options)
        )
        self._latest: tuple[Checkpoint, str] | None = None
        try:
            self._establish()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Calls. The four services are few enough to be named here.

    def _call(self, service: str, method: str, request: Any, answer: type[T]) -> T:
        call = self._channel.unary_unary(
            f"/colearn.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        with self._errors():
            result: T = call(request, timeout=_UNARY_TIMEOUT, metadata=_METADATA)
        return result

    def _stream(
        self,
        service: str,
        method: str,
        request: Any,
        answer: type[T],
        timeout: float | None = None,
    ) -> Iterator[T]:
        call = self._channel.unary_stream(
            f"/colearn.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        stream: Any = call(request, timeout=timeout, metadata=_METADATA)
        try:
            while True:
                with self._errors():
                    message = next(stream, None)
                if message is None:
                    return
                yield message
        finally:
            stream.cancel()

    def _errors(self) -> _Translate:
        return _Translate(self.url)

    # Checkpoints.

    def _establish(self) -> None:
        """Believes the node's checkpoint, and the key that signs it, only if that key is the one in
        the ledger's first entry or was changed to by entries signed by both keys."""
        known = self._call(
            "LedgerService", "GetLedger", ledger.GetLedgerRequest(), ledger.GetLedgerResponse
        )
        self.ledger_id = bytes(known.ledger_id)
        #: The version of the rules that an experiment is to be created for.
        self.contract_version = known.contract_version or 1
        expected = self.memory.ledger_id
        if expected is not None and expected != self.ledger_id.hex():
            raise OtherLedgerError(self.url, self.ledger_id.hex(), expected)
        if self._latest is None and self.memory.checkpoint is not None:
            note, key = self.memory.checkpoint
            self._latest = (Checkpoint.open(note, Verifier.parse(key)), note)
        self.verifier = Verifier.parse(known.verifier_key)
        checkpoint, note = self._fetch_checkpoint()
        first = types.Entry.FromString(self._proven_entry(0, checkpoint))
        if hashlib.sha256(first.genesis.SerializeToString()).digest() != self.ledger_id:
            raise MalformedError("the ledger id is not that of the first entry")
        keys = LogKeys(first.genesis, self.ledger_id)
        for index in list(known.key_rotations)[:1000]:
            entry = types.Entry.FromString(self._proven_entry(index, checkpoint))
            keys.follow(index, entry.key_rotation)
        if keys.current != self.verifier:
            raise MalformedError("the key is neither the first entry's nor one it changed to")
        self._keep(checkpoint, note)

    def _proven_entry(self, index: int, checkpoint: Checkpoint) -> bytes:
        entry = self.entries(index, 1)[0]
        proof = self._call(
            "LedgerService",
            "GetInclusionProof",
            ledger.GetInclusionProofRequest(index=index, size=checkpoint.size),
            ledger.GetInclusionProofResponse,
        )
        leaf, path = leaf_hash(entry), list(proof.proof)
        if not verify_inclusion(leaf, index, checkpoint.size, path, checkpoint.root):
            raise MalformedError(f"entry {index} is not in the checkpoint's tree")
        return entry

    def refresh(self) -> types.Seen:
        """Fetches the node's checkpoint and verifies that it continues the last one.

        Raises:
            ForkError: If it does not; both checkpoints are kept as evidence.
        """
        try:
            checkpoint, note = self._fetch_checkpoint()
        except UnsignedError:
            # Perhaps the ledger's key was changed.
            self._establish()
        else:
            self._keep(checkpoint, note)
        assert self._latest is not None
        return types.Seen(size=self._latest[0].size, root=self._latest[0].root)

    def _fetch_checkpoint(self) -> tuple[Checkpoint, str]:
        old, old_note = self._latest if self._latest is not None else (None, "")
        request = ledger.GetCheckpointRequest(old_size=old.size if old else 0)
        try:
            answer = self._call("LedgerService", "GetCheckpoint", request, ledger.GetCheckpointResponse)
        except RefusedError as error:
            if error.code == "OUT_OF_RANGE":
                evidence = self.memory.keep_evidence(old_note, error.message)
                raise ForkError("it is shorter", evidence) from error
            raise
        checkpoint = Checkpoint.open(answer.checkpoint, self.verifier)
        if old is not None:
            path = list(answer.consistency_proof)
            if not verify_consistency(old.size, old.root, checkpoint.size, checkpoint.root, path):
                evidence = self.memory.keep_evidence(old_note, answer.checkpoint)
                raise ForkError("the proof does not fit", evidence)
        return checkpoint, answer.checkpoint

    def _keep(self, checkpoint: Checkpoint, note: str) -> None:
        self.memory.keep_checkpoint(self.ledger_id.hex(), str(self.verifier), note)
        self._latest = (checkpoint, note)

    @property
    def checkpoint(self) -> Checkpoint:
        """The last verified checkpoint."""
        assert self._latest is not None
        return self._latest[0]

    @property
    def note(self) -> str:
        """The last verified checkpoint as it was signed, verbatim."""
        assert self._latest is not None
        return self._latest[1]

    # Transactions.

    def sign(self, key: Ed25519PrivateKey, action: types.Transaction) -> types.SignedTransaction:
        """Signs an action over the node's latest checkpoint, which it so vouches for."""
        action.seen.CopyFrom(self.refresh())
        return transaction.sign(key, self.ledger_id, action)

    def submit(self, signed: types.SignedTransaction) -> Receipt:
        """Submits a transaction, verifies the receipt and keeps it.

        Raises:
            RefusedError: If the node refuses; carries the rule's number.
            ReceiptError: If the receipt does not prove the transaction's place.
        """
        request = coordinator.SubmitRequest(transaction=signed)
        answer = self._call("CoordinatorService", "Submit", request, coordinator.SubmitResponse)
        message = answer.receipt
        entry = types.Entry.FromString(message.entry)
        recorded = entry.transaction
        same = recorded.body == signed.body and recorded.public_key == signed.public_key
        if not same or entry.index != message.index:
            raise ReceiptError("the entry is another one")
        receipt = Receipt(message.index, list(message.inclusion_proof), message.checkpoint)
        try:
            receipt.verify(leaf_hash(message.entry), self.verifier)
        except NoteError as error:
            raise ReceiptError(str(error)) from error
        self.memory.keep_receipt(receipt, message.entry)
        return receipt

    def act(self, key: Ed25519PrivateKey, action: types.Transaction) -> Receipt:
        """Signs an action and submits it."""
        return self.submit(self.sign(key, action))

    # Experiments and entries.

    def experiment(self, name: str, learner: bytes = b"") -> coordinator.GetExperimentResponse:
        """An experiment's state, and how a learner stands in it."""
        request = coordinator.GetExperimentRequest(name=name, learner=learner)
        answer = coordinator.GetExperimentResponse
        return self._call("CoordinatorService", "GetExperiment", request, answer)

    def experiments(self) -> list[coordinator.Experiment]:
        """Every experiment, in short."""
        found: list[coordinator.Experiment] = []
        while True:
            after = found[-1].name if found else ""
            request = coordinator.ListExperimentsRequest(after=after)
            answer = coordinator.ListExperimentsResponse
            page = self._call("CoordinatorService", "ListExperiments", request, answer)
            if not page.experiments:
                return found
            found.extend(page.experiments)

    def watch(self, name: str, start: int) -> Iterator[coordinator.WatchExperimentResponse]:
        """An experiment's entries from an index on, as they come."""
        request = coordinator.WatchExperimentRequest(name=name, start=start)
        answer = coordinator.WatchExperimentResponse
        return self._stream("CoordinatorService", "WatchExperiment", request, answer)

    def entries(self, start: int, count: int) -> list[bytes]:
        """Some consecutive entries, at least one."""
        request = ledger.GetEntriesRequest(start=start, count=count)
        answer = self._call("LedgerService", "GetEntries", request, ledger.GetEntriesResponse)
        if not answer.entries:
            raise MalformedError(f"entry {start} is missing")
        return list(answer.entries)

    # Artifacts.

    def upload(self, weights: Weights) -> None:
        """Uploads weights unless the node has them, going on after a break."""
        self._again(lambda: self._try_upload(weights))

    def _try_upload(self, weights: Weights) -> None:
        size = len(weights.data)
        there = self._call(
            "ArtifactService",
            "StatArtifact",
            artifact.StatArtifactRequest(digest=weights.digest),
            artifact.StatArtifactResponse,
        )
        if there.stored:
            return
        offset = there.partial_size if there.partial_size <= size else 0
        view = memoryview(weights.data)

        def parts() -> Iterator[artifact.UploadArtifactRequest]:
            header = artifact.UploadHeader(digest=weights.digest, size=size, offset=offset)
            yield artifact.UploadArtifactRequest(header=header)
            for at in range(offset, size, CHUNK_BYTES):
                yield artifact.UploadArtifactRequest(chunk=bytes(view[at : at + CHUNK_BYTES]))

        call = self._channel.stream_unary(
            "/colearn.v1.ArtifactService/UploadArtifact",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=artifact.UploadArtifactResponse.FromString,
        )
        with self._errors():
            call(parts(), metadata=_METADATA)

    def download(self, digest: bytes, size: int, timeout: float | None = None) -> Weights:
        """Downloads weights and verifies their digest, going on after a break.

        Args:
            digest: SHA-256 of the weights, 32 bytes.
            size: Their size in bytes, as the ledger has it.
            timeout: Give up after so many seconds, as if the node were out of reach.

        Raises:
            ArtifactError: If the node sends other bytes.
        """
        data = bytearray()
        until = None if timeout is None else time.monotonic() + timeout

        def go_on() -> None:
            request = artifact.DownloadArtifactRequest(digest=digest, offset=len(data))
            answer = artifact.DownloadArtifactResponse
            left = None if until is None else max(until - time.monotonic(), 0.0)
            parts = self._stream("ArtifactService", "DownloadArtifact", request, answer, left)
            for part in parts:
                if len(data) + len(part.chunk) > size:
                    raise ArtifactError(digest)
                data.extend(part.chunk)

        self._again(go_on, until)
        weights = Weights(bytes(data))
        if weights.digest != digest:
            raise ArtifactError(digest)
        return weights

    def _again(self, run: Callable[[], None], until: float | None = None) -> None:
        for tries in range(_TRIES + 1):
            try:
                return run()
            except (UnreachableError, RefusedError) as error:
                pause = 0.05 * 2**tries
                late = until is not None and time.monotonic() + pause >= until
                if tries == _TRIES or late or not is_transient(error):
                    raise
                time.sleep(pause)


def is_transient(error: ColearnError) -> bool:
    """Whether trying again later may help."""
    return isinstance(error, UnreachableError) or (isinstance(error, RefusedError) and error.transient)


class _Translate:
    """Makes this package's errors of gRPC's."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, grpc.RpcError):
            return
        code = error.code()
        details = error.details() or code.name
        if code.name in ("UNAVAILABLE", "CANCELLED", "UNKNOWN", "DEADLINE_EXCEEDED"):
            raise UnreachableError(self._url, details) from error
        metadata: Any = error.trailing_metadata() or ()
        rules = [value for name, value in metadata if name == _RULE]
        rule = int(rules[0]) if rules and str(rules[0]).isdigit() else None
        raise RefusedError(code.name, rule, details) from error
