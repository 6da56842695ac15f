"""DAGMM: deep autoencoding Gaussian mixture model for unsupervised anomaly detection (Zong et al., ICLR 2018).

An autoencoder squeezes the vector of a sequence to two numbers; with the relative size of its error and the cosine
between vector and reconstruction they go through a small network that says to which component of a Gaussian mixture
they belong. The mixture follows from a batch in closed form. The score is the energy, the negative log-likelihood under
the mixture of the whole training set. All is trained together, without pre-training and without EM.

Told: source normals, as in the paper's protocol. It reads texts (`inputs="counts"`: log keys).

Works badly where an anomaly is the order of events, or one event among many in the mean vector. An energy says how rare
a code is among those of training, so a sequence unlike training whose code falls on a common one passes; it can be
below `random`. Energies of two runs have different origins: never compare them. There is no native rule: the paper's
uses the share of anomalies in the test.

Reconstructed [R]: the vector of a sequence (mean sentence vector, or log counts), the code's size, squared errors
summed over dimensions, a jitter on covariances. An empty sequence gets the energy of the best component's mean. More:
docs/methods/dagmm.md

    >>> from bench.testing.trial import toy_log
    >>> log = toy_log(DAGMM.tags.told)
    >>> detector = DAGMM().fit(log.train, log.labels, evidence=log.evidence)
    >>> scores = detector.score(log.test)
    >>> bool(scores[log.test_labels == 1].mean() > scores[log.test_labels == 0].mean())
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bench.detector import Detector, DetectorTags, Evidence, NotFittedError
from bench.types import Sequences
from methods.shared import layers as _layers
from methods.shared.bag_vectors import BagInputs
from methods.shared.layers import Mixture
from methods.shared.occlusion import occlusion
from methods.shared.published import ADAM, Published, original, sources_of
from methods.shared.text_inputs import TextSettings
from methods.shared.training import TrainingSettings, hold_out, seeded, train_network

_BLOCK = 4096
_TINY = 1e-8

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """Defaults: the paper's weights and sizes under the common budget."""

    inputs: Literal["vectors", "counts"] = "vectors"
    """What a sequence is: mean vector of its events, or how often each log key occurs [R].

    Study `network-choices`: counts, centred vectors and other k, latent or jitter are not better beyond the seeds."""
    width: int = 100
    """Dimensions of a text's vector (MLAD section 5.1: the same for all methods)."""
    encoder: tuple[int, ...] = (50,)
    """Layers between input and code, mirrored in the decoder [R]; chosen in the study (60, 30, 10 in section 4.3 for
    KDDCUP; each data set of the paper has its own)."""
    latent: int = 2
    """Dimensions of the code [R]; the paper has 1 or 2."""
    estimator: int = 10
    """Units of the estimation network (section 4.3)."""
    k: int = 4
    """Components of the mixture (section 4.3, KDDCUP)."""
    energy_weight: float = 0.1
    """lambda 1 (section 4.3)."""
    penalty_weight: float = 0.005
    """lambda 2 (section 4.3)."""
    jitter: float = 1e-6
    """Added to the diagonal of each covariance, times 10 until it can be factorised [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "encoder", tuple(self.encoder))  # a list after JSON
        if min(self.width, self.latent, self.estimator, self.k, *self.encoder) < 1:
            raise ValueError("width, encoder, latent, estimator and k must be at least 1")
        if self.jitter <= 0 or self.penalty_weight < 0:
            raise ValueError(
                f"jitter {self.jitter} must be positive, penalty_weight {self.penalty_weight} not negative"
            )


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-4, "section 4.3"),
    "steps": (None, "section 4.3 counts epochs"),
    "max_epochs": (200, "section 4.3, KDDCUP"),
    "patience": (None, "section 4.3: all epochs are run"),
    "batch_size": (1024, "section 4.3, KDDCUP"),
    "validation_fraction": (0.0, "section 4.3 trains on the whole training part"),
    "dropout": (0.5, "section 4.3"),
    "inputs": ("vectors", "[R] the paper does not treat logs"),
    "width": (100, "[R] the paper does not treat logs; MLAD section 4.1 gives it 100"),
    "centred": (False, "[R] the paper does not treat logs"),
    "encoder": ((60, 30, 10), "section 4.3, KDDCUP"),
    "latent": (1, "section 4.3, KDDCUP"),
    "estimator": (10, "section 4.3, KDDCUP"),
    "k": (4, "section 4.3, KDDCUP"),
    "energy_weight": (0.1, "section 4.3"),
    "penalty_weight": (0.005, "section 4.3"),
    "jitter": (1e-6, "code (tnakae/DAGMM); the paper names none"),
}


class DAGMM(Detector):
    """Energy of code and reconstruction error under the mixture of the training set."""

    tags: ClassVar[DetectorTags] = DetectorTags(told={"source": "normals"}, uses=frozenset({"texts", "log_keys"}))
    Config: ClassVar[type] = Config
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = original(ORIGINAL)
    """`original`: the paper, for its data set KDDCUP."""
    sources: ClassVar[Mapping[str, Mapping[str, str]]] = sources_of(ORIGINAL)

    def skip(self, train: Sequences) -> str | None:
        """Without any training event there is nothing to learn from."""
        return None if train.n_events else "no training sequence has an event"

    def fit(self, train: Sequences, labels: NDArray[np.int8] | None = None, *, evidence: Evidence = Evidence()) -> Self:
        """Train both networks, then compute the mixture of all training sequences; labels are not read."""
        if reason := self.skip(train):
            raise ValueError(f"DAGMM cannot be trained: {reason}")
        config: Config = self.config
        self.inputs_, (vectors, bags) = BagInputs.learn(train.select(train.lengths > 0), config.inputs, config)
        inputs = torch.tensor(vectors, device=self.device)
        with seeded(self.seed, self.device):
            net = self._new_network()

            rounded = inputs.to(torch.float32)

            def loss(rows: Tensor, weights: Tensor) -> dict[str, Tensor]:
                return objective(net, rounded[rows], weights, config)

            def stage(batches: Iterable[NDArray[np.int64]]) -> list[Tensor]:
                return [torch.as_tensor(items, device=inputs.device) for items in batches]

            parts = hold_out(bags.counts, config.validation_fraction, self.seed)
            self.history_ = train_network(net, loss, parts, config, seed=self.seed, stage=stage)
        self.net_ = net.double().eval()
        shares = torch.tensor(bags.counts / bags.counts.sum(), device=self.device)
        with torch.inference_mode():
            self.mixture_ = mixture_of_all(self.net_, inputs, shares, config)
        return self

    def score(self, sequences: Sequences) -> Floats:
        """Return float64 (n_sequences,): energies."""
        encoded, empty, inverse = self._encode(sequences)
        with torch.inference_mode():
            energies = torch.cat([self.mixture_.energy(part) for part in torch.split(encoded, _BLOCK)])
            of_empty = float(self.mixture_.energy(self.mixture_.mean).min())
        return np.where(empty, of_empty, energies.cpu().numpy())[inverse].astype(np.float64)

    def explain(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return float32 (n_events,): by how much the score falls without the event, its equals sharing (occlusion)."""
        return occlusion(sequences, self.score, "log_keys" if self.config.inputs == "counts" else "text_ids")

    def represent(self, sequences: Sequences) -> NDArray[np.float32]:
        """Return code, relative error and cosine of each sequence, float32 (n_sequences, latent + 2)."""
        encoded, _, inverse = self._encode(sequences)
        return encoded.cpu().numpy().astype(np.float32)[inverse]

    def state(self) -> dict[str, NDArray[Any]]:
        """Parameters, mixture, and what a sequence's vector is made with."""
        if not hasattr(self, "net_"):
            raise NotFittedError("DAGMM: call fit before state")
        mixture = {f"mixture.{name}": value.cpu().numpy() for name, value in self.mixture_._asdict().items()}
        return {**_layers.arrays_of(self.net_), **mixture, **self.inputs_.state()}

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take over what `state` returned; the training facts of `monitor` are not part of it."""
        self.inputs_ = BagInputs.from_state(state, self.config.inputs)
        with seeded(self.seed, self.device):
            self.net_ = self._new_network().double().eval()
        _layers.load_arrays(self.net_, state)
        self.mixture_ = Mixture(
            *(torch.tensor(state[f"mixture.{name}"], device=self.device) for name in Mixture._fields)
        )
        return self

    def monitor(self) -> dict[str, Any]:
        """Loss parts by steps, and the mixture's shares and variances."""
        if not hasattr(self, "history_"):
            return {}
        variances = self.mixture_.covariance.diagonal(dim1=1, dim2=2)
        facts = {"component_shares": self.mixture_.log_share.exp().tolist(), "variances": variances.tolist()}
        return {**self.history_.as_json(), **facts}

    def _new_network(self) -> Network:
        return Network(self.config, self.inputs_.width).to(self.device)

    def _encode(self, sequences: Sequences) -> tuple[Tensor, NDArray[np.bool_], NDArray[np.int64]]:
        """What the mixture sees of each distinct bag, which of them are empty, and the bag of each sequence."""
        if not hasattr(self, "net_"):
            raise NotFittedError("DAGMM: call fit before score")
        vectors, bags = self.inputs_.of(sequences)
        with torch.inference_mode():
            parts = torch.split(torch.tensor(vectors, device=self.device), _BLOCK)
            encoded = torch.cat([self.net_(part)[0] for part in parts])
        return encoded, bags.bags.lengths == 0, bags.inverse


class Network(nn.Module):
    """Autoencoder and estimation network; tanh between linear layers, the last of each linear."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        sizes = (width, *config.encoder, config.latent)
        self.encoder = _stack(sizes)
        self.decoder = _stack(sizes[::-1])
        self.estimator = nn.Sequential(
            nn.Linear(config.latent + 2, config.estimator),
            nn.Tanh(),
            nn.Dropout(config.dropout),
            nn.Linear(config.estimator, config.k),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, width) -> what the mixture sees (B, latent + 2), squared errors summed over dimensions (B,)."""
        code = self.encoder(x)
        again = self.decoder(code)
        square = (x - again).square().sum(1)
        # The root of 0 has no gradient; the least vector keeps both features finite.
        relative = (square + _TINY).sqrt() / (x.square().sum(1) + _TINY).sqrt()
        cosine = F.cosine_similarity(x, again, dim=1, eps=_TINY)
        return torch.cat([code, relative[:, None], cosine[:, None]], 1), square

    def responsibilities(self, z: Tensor) -> Tensor:
        """(B, K), rows sum to 1."""
        return torch.softmax(self.estimator(z), 1)


def objective(net: Network, x: Tensor, weights: Tensor, config: Config) -> dict[str, Tensor]:
    """Equation 7 on one batch; weights: (B,) summing to 1."""
    z, square = net(x)
    gamma = net.responsibilities(z)
    mixture = _layers.mixture_of(_layers.moments(z, gamma * weights[:, None]), jitter=config.jitter)
    parts = {
        "reconstruction": (weights * square).sum(),
        "energy": (weights * mixture.energy(z)).sum(),
        "penalty": mixture.covariance.diagonal(dim1=1, dim2=2).reciprocal().sum(),
    }
    total = parts["reconstruction"] + config.energy_weight * parts["energy"] + config.penalty_weight * parts["penalty"]
    return {"loss": total, **parts}


def mixture_of_all(net: Network, inputs: Tensor, shares: Tensor, config: Config) -> Mixture:
    """The mixture of all sequences, in float64, block by block; inputs: (n, width), shares: (n,) summing to 1."""
    sums = None
    for rows, weights in zip(torch.split(inputs, _BLOCK), torch.split(shares, _BLOCK), strict=True):
        z, _ = net(rows)
        part = _layers.moments(z, net.responsibilities(z) * weights[:, None])
        sums = part if sums is None else _layers.Moments(*(a + b for a, b in zip(sums, part, strict=True)))
    assert sums is not None
    return _layers.mixture_of(sums, jitter=config.jitter)


def _stack(sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inner, outer in pairwise(sizes):
        layers += [nn.Linear(inner, outer), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
