"""Scores of the package `deeplog` (Thijs van Ede, MIT) for exported sequences: the certificate of our `deeplog`.

    pip install deeplog==0.0.3 torch-train==0.0.3
    bench data export hdfs@simulated --out export --format jsonl
    python examples/certificates/deeplog_package.py export 0 > scores.csv
    bench results import deeplog-package scores.csv --export export --certifies deeplog --code "deeplog 0.0.3, PyPI"
    bench run --methods deeplog --scenario hdfs@simulated --seeds 1
    bench compare deeplog --against deeplog-package

The package is the network with its `fit` and `predict`. What it leaves to its user is set as ours is: 10 earlier keys,
padded on the left, Adam with a step of .001, batches of 128. A sequence's score is the worst rank that one of its keys
has among the predictions; of equal worst ranks the mean rank decides.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from deeplog import DeepLog
from torch import optim

HISTORY, HIDDEN, LAYERS, BATCH, STEPS = 10, 64, 2, 128, 600


def read(path: Path) -> list[dict]:
    """The sequences of a part."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def histories(keys: list[int], n_keys: int) -> list[list[int]]:
    """The 10 keys before each key: 0 stands for nothing, n_keys + 1 for a key that no sequence told has."""
    tokens = [0] * HISTORY + [key + 1 if 0 <= key < n_keys else n_keys + 1 for key in keys]
    return [tokens[at : at + HISTORY] for at in range(len(keys))]


def fit(sequences: list[dict], n_keys: int, seed: int) -> DeepLog:
    """The package's network, trained on the histories of the sequences that are told."""
    torch.manual_seed(seed)
    past = torch.tensor([row for s in sequences for row in histories(s["keys"], n_keys)])
    following = torch.tensor([key for s in sequences for key in s["keys"]])
    net = DeepLog(input_size=n_keys + 2, hidden_size=HIDDEN, output_size=n_keys, num_layers=LAYERS)
    epochs = max(1, round(STEPS * BATCH / len(past)))
    net.fit(past, following, epochs=epochs, batch_size=BATCH, learning_rate=1e-3, optimizer=optim.Adam)
    return net.eval()


def score(net: DeepLog, keys: list[int], n_keys: int) -> float:
    """The worst rank of a sequence's keys, the higher the more abnormal."""
    if not keys:
        return 0.0
    order, _ = net.predict(torch.tensor(histories(keys, n_keys)), k=n_keys, verbose=False)
    ranks = [row.index(key) if 0 <= key < n_keys else n_keys for row, key in zip(order.tolist(), keys, strict=True)]
    return max(ranks) + sum(ranks) / len(ranks) / (n_keys + 1)


def main(folder: Path, seed: int) -> None:
    """Print id and score of every sequence that is to be scored."""
    train = read(folder / "train.jsonl")
    n_keys = 1 + max(key for sequence in train for key in sequence["keys"])
    net = fit(train, n_keys, seed)
    known: dict[tuple[int, ...], float] = {}
    for part in ("validation", "test"):
        for sequence in read(folder / f"{part}.jsonl"):
            keys = tuple(sequence["keys"])
            if keys not in known:
                known[keys] = score(net, list(keys), n_keys)
            print(f"{sequence['id']},{known[keys]!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
