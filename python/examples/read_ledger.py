"""A finished experiment as pandas tables, and a plot of its scores.

Run it: ``python read_ledger.py URL_OR_EXPORTED_FOLDER EXPERIMENT [PLOT.png]``.
"""

import sys

try:
    import matplotlib
    import pandas  # noqa: F401
except ImportError:
    raise SystemExit("skipped: pandas is not installed; pip install 'colearn-client[pandas]'") from None

from colearn_client import open

matplotlib.use("Agg")
if len(sys.argv) < 3:
    raise SystemExit("usage: read_ledger.py URL_OR_EXPORTED_FOLDER EXPERIMENT [PLOT.png]")

ledger = open(sys.argv[1])
print(f"{ledger.verify()} entries, chained, signed and under the checkpoint's root")
rounds, votes = ledger.experiments()[sys.argv[2]].to_pandas()
print(rounds[["number", "verdict", "approvals", "electorate", "mean_test_score"]].to_string())
print(votes.groupby("voter")["approve"].mean().rename("share of approvals").to_string())

axes = rounds.plot(x="number", y="mean_test_score", marker="o", legend=False)
accepted = rounds[rounds["verdict"] == "accepted"]
axes.scatter(accepted["number"], accepted["mean_test_score"], color="green", zorder=3)
axes.set(xlabel="round", ylabel="mean test score", title=sys.argv[2])
path = sys.argv[3] if len(sys.argv) > 3 else "scores.png"
axes.figure.savefig(path)
print(f"plot: {path}")
