"""Servers of the genuine original package, 0.2.8, through ``colearn bridge``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from conftest import colearn, program
from lacking import skip

from colearn_client import keys, open

PYTHON = os.environ.get("COLEARN_LEGACY_PYTHON")
SETUP = ["--dataset", "NUMBERS", "--model", "GUESS"]


def test_genuine_learner_servers_take_part(node: str, tmp_path: Path) -> None:
    if PYTHON is None:
        why = "COLEARN_LEGACY_PYTHON names no interpreter (3.7 or 3.8) with 'colearn[grpc]==0.2.8'"
        skip("legacy-python", why)
    script = Path(__file__).with_name("genuine_server.py")
    started = [
        subprocess.Popen([str(PYTHON), str(script), number], stdout=subprocess.PIPE, text=True)
        for number in ("3", "5", "7")
    ]
    try:
        addresses = [f"127.0.0.1:{int(server.stdout.readline())}" for server in started]
        initial, files = tmp_path / "initial.pkl", [tmp_path / f"{at}.pem" for at in range(3)]
        for file in files:
            keys.load_or_create(file)
        colearn("bridge", "--learner", addresses[0], *SETUP, "--initial", str(initial))
        assert initial.stat().st_size > 4_000_000, "more than one part"
        colearn(
            *["experiment", "create", "guess", "--node", node, "--key", str(files[0]), "--open"],
            *["--weights", str(initial), "--media-type", "application/x-colearn-legacy"],
            *["--min-learners", "3", "--max-rounds", "6"],
        )
        bridges = [
            subprocess.Popen(
                [
                    *program(),
                    "bridge",
                    "--learner",
                    address,
                    *SETUP,
                    "--node",
                    node,
                    "--experiment",
                    "guess",
                    "--key",
                    str(file),
                ]
            )
            for address, file in zip(addresses, files, strict=True)
        ]
        assert [bridge.wait(60) for bridge in bridges] == [0, 0, 0]
        rounds = open(node).experiments()["guess"].rounds
        assert len(rounds) == 6 and all(item.weights for item in rounds)
        assert {item.verdict for item in rounds} <= {"accepted", "rejected"}
        assert rounds[0].verdict == "accepted" and len(rounds[0].votes) == 2
        wrong = subprocess.run(
            [
                *program(),
                "bridge",
                "--learner",
                addresses[0],
                "--initial",
                str(tmp_path / "x"),
                "--dataset",
                "CATS",
                "--model",
                "GUESS",
            ],
            capture_output=True,
            text=True,
        )
        assert wrong.returncode == 1 and "no data loader CATS" in wrong.stderr
    finally:
        for server in started:
            server.kill()
            server.wait()
