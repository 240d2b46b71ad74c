"""``python -m colearn_client``: the ``colearn`` command."""

from ._command import main

main()
