"""Where a ledger is kept."""

from __future__ import annotations

from collections.abc import Sequence

#: A node's address, such as ``http://127.0.0.1:7400``; of several that keep the ledger, all of them, as
#: a list or with commas between them. One is spoken to, the others are for when that one will not do.
Node = str | Sequence[str]
