"""Writes vectors.bin: the random models of the specification's vectors, as it says how they are drawn.

Little-endian f32, a thousand each: the base, the previous model, seven updates that have a direction in common and one of
which is ten times as long, seven that have none. Needs NumPy; the legacy generator gives the same numbers in all versions.
"""

from pathlib import Path

import numpy as np

random = np.random.RandomState(7)
base = random.randn(1000).astype(np.float32)
previous = (base - 0.01 * random.randn(1000)).astype(np.float32)
direction = random.randn(1000)
models = [base, previous]
for i in range(7):
    step = direction + random.randn(1000)
    models.append((base + 0.05 * step * (10 if i == 3 else 1)).astype(np.float32))
for _ in range(7):
    models.append((base + 0.05 * random.randn(1000)).astype(np.float32))
data = b"".join(model.astype("<f4").tobytes() for model in models)
Path(__file__).with_name("vectors.bin").write_bytes(data)
