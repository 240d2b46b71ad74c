"""What can go wrong. Each message says what happened, to what, and what to do next."""

from __future__ import annotations

from pathlib import Path


class ColearnError(Exception):
    """Anything that this package raises on purpose."""


class AddressError(ColearnError):
    """The node's address is none."""


class UnreachableError(ColearnError):
    """No node answers. Worth trying again."""


class RefusedError(ColearnError):
    """The node refused, and says why.

    Attributes
    ----------
    rule : int or None
        The number of the contract's rule, if that was the reason; see contracts/README.md.
    missing : bool
        Whether what was asked about does not exist.
    transient : bool
        Whether trying again later may help.
    stale : bool
        Whether the experiment is no longer where the action thought it was.
    """

    rule: int | None = None
    missing: bool = False
    transient: bool = False
    stale: bool = False


class MalformedError(ColearnError):
    """Something that was read cannot be what it should be: a node's answer, or a ledger's bytes.

    Attributes
    ----------
    evidence : Path or None
        The file with what was sent and is not proven, if there is a folder for it.
    """

    evidence: Path | None = None


class NoteError(ColearnError):
    """A checkpoint, receipt or key that is not to be believed."""


class ForkError(ColearnError):
    """The node's history does not continue what it showed before.

    Attributes
    ----------
    evidence : Path or None
        The file with both checkpoints, if there is a folder for it.
    """

    evidence: Path | None = None


class OtherLedgerError(ColearnError):
    """The node keeps another ledger than this learner belongs to."""


class ReceiptError(ColearnError):
    """A receipt does not prove that the transaction is in the ledger."""


class ArtifactError(ColearnError):
    """The node sent other bytes than the weights that were asked for."""


class KeyFileError(ColearnError):
    """A key cannot be had: its file, or whoever keeps it."""


class SignerError(ColearnError):
    """A key that is kept elsewhere has not signed."""


class DataError(ColearnError):
    """The folder in which a learner remembers cannot be used."""


class PlanError(ColearnError):
    """A plan that cannot be read, or that the rules do not allow."""


class SchemaError(ColearnError):
    """A table does not fit its schema, or the schema says what cannot be."""


class ModelError(ColearnError):
    """Weights that are not of this learner's model."""


class NotFiniteError(ModelError):
    """Weights that are no numbers."""


class PolicyError(ColearnError):
    """The site's policy cannot be read, says what cannot be, or does not allow it."""


class TermsError(ColearnError):
    """The experiment's terms are not those that were agreed on."""


class UnseatedError(ColearnError):
    """The members have suspended or expelled this learner, or another key takes part in its place."""


class VerificationError(ColearnError):
    """A ledger is not as it should be; names the entry."""
