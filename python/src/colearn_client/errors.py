"""What can go wrong, each with what to do next."""

from __future__ import annotations

from pathlib import Path

# Rules whose refusal only says that the experiment has moved on since the sender looked.
_STALE = {5, 9, 10, 11, 12, 13, 14, 17, 19, 20, 34, 35, 40, 41, 52, 53, 71}


class ColearnError(Exception):
    """Anything that this package raises on purpose."""


class AddressError(ColearnError):
    """The node's address is none."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url!r} is not the address of a node; it looks like http://HOST:PORT")


class UnreachableError(ColearnError):
    """No node answers. Worth trying again."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"no node answers at {url} ({reason}); is it running? "
            "start one with: colearn node --data DIR"
        )


class RefusedError(ColearnError):
    """The node refused.

    Attributes:
        code: The name of the gRPC status, such as ``FAILED_PRECONDITION``.
        rule: The number of the contract's rule, if that was the reason; see contracts/README.md.
        message: In the node's words, which say what to do.
    """

    def __init__(self, code: str, rule: int | None, message: str) -> None:
        super().__init__(f"the node refused: {message}")
        self.code = code
        self.rule = rule
        self.message = message

    @property
    def transient(self) -> bool:
        """Whether trying again later may help."""
        return self.rule is None and self.code in {"RESOURCE_EXHAUSTED", "INTERNAL", "ABORTED"}

    @property
    def stale(self) -> bool:
        """Whether the experiment is no longer where the action thought it was."""
        return self.rule in _STALE


class MalformedError(ColearnError):
    """The node answered something that cannot be."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the node answered something that cannot be: {what}")


class NoteError(ColearnError):
    """A checkpoint, receipt or key that is not to be believed."""


class ForkError(ColearnError):
    """The node's history does not continue what it showed before.

    Attributes:
        evidence: The file with both checkpoints, if there is a data folder.
    """

    def __init__(self, what: str, evidence: Path | None) -> None:
        kept = f"; both checkpoints are kept in {evidence}" if evidence else ""
        super().__init__(
            f"FORK: the node's history does not continue what it showed before ({what}); "
            f"stop trusting it and compare with the other learners{kept}"
        )
        self.evidence = evidence


class OtherLedgerError(ColearnError):
    """The node keeps another ledger than this learner belongs to."""

    def __init__(self, url: str, found: str, expected: str) -> None:
        super().__init__(
            f"the node at {url} keeps ledger {found}, this learner belongs to {expected}; "
            "check the address, or use another data folder"
        )


class ReceiptError(ColearnError):
    """A receipt does not prove that the transaction is in the ledger."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the node's receipt does not prove that the transaction is in the ledger: {why}"
        )


class ArtifactError(ColearnError):
    """The node sent other bytes than the weights that were asked for."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"the node sent other bytes than the weights {digest.hex()}")


class KeyFileError(ColearnError):
    """A key file cannot be used."""


class ModelError(ColearnError):
    """Weights that are not of this learner's model."""


class NotFiniteError(ModelError):
    """Weights that are no numbers."""


class TermsError(ColearnError):
    """The experiment's terms are not those that were agreed on."""


class VersionError(ColearnError):
    """The experiment follows rules that this package does not know."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"version {version} of the rules is needed here, and this package knows 1 to 2: use a "
            "later colearn-client"
        )


class UnseatedError(ColearnError):
    """The members have suspended or expelled this learner."""


class VerificationError(ColearnError):
    """A ledger is not as it should be; names the entry."""
