"""The choices of MLAD, with the source of each default; what each does is in `mlad.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from methods.shared.published import ADAM, Published
from methods.shared.text_inputs import TextSettings
from methods.shared.training import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Config(TextSettings, TrainingSettings):
    """Defaults: the paper where it states a value, else its code, else the resolutions A1-A19 of the method sheet.

    Not here: the threshold (A7) and windows and their step (A9) are the harness's; there are no counts to match (A10);
    attention weights are over key positions, the only reading that fits (A12); A16 has no implementable meaning; A18
    is about other methods.
    """

    width: int = 100
    """Dimensions of a text's vector and of the encoder (section 4.1)."""
    layers: int = 2
    """Encoder layers (published code; A13)."""
    heads: int = 4
    """Attention heads (published code; A13)."""
    ffn_width: int = 256
    """Inner dimensions of the feed-forward network (published code; A13)."""
    celu: float = 1.0
    """The alpha of CELU, which equation 3 calls by the same letter as entmax's (A19)."""
    attention_scale: Literal["head", "width"] = "head"
    """Scores are divided by the root of the dimensions of a head, as in the text, or of all, as in equation 1 (A11)."""
    alpha: float = 1.5
    """Of entmax in attention and responsibilities; 1 is softmax, the ablation "w/o entmax" (published code)."""
    head_alpha: float | None = None
    """Of entmax in the responsibilities alone; None: the same alpha, 1: none is ever zero (A3)."""
    entmax: Literal["own", "package"] = "own"
    """Who computes it: our own, or the package of that name, which knows no merged events (merge_repeats=false) [R]."""
    k: int = 5
    """Components of the mixture (published code)."""
    min_share: float = 1e-4
    """Components with a smaller share drop out of the likelihood (A3)."""
    mixture_dim: int | None = None
    """Dimensions the mixture sees, after a linear reduction; None: all (A6, A13)."""
    first_term: Literal["rec", "bce0", "literal", "none"] = "rec"
    """First loss term (A1, A2): error of a reconstruction; the code's cross-entropy of a sigmoid head against label 0;
    equation 7 to the letter, one head for both, so the squared length of the responsibilities; or none."""
    rec_target: Literal["pooled", "positions"] = "pooled"
    """What is reconstructed: the mean input vector from the pooled one, or each input from its position (A2)."""
    rec_error: Literal["sum", "mean"] = "sum"
    """Of the squared error over dimensions: their sum, as DAGMM's squared distance, or their mean [R]."""
    input_scale: Literal["variance", "norm"] = "variance"
    """`variance`: sentence vectors times the root of 384, so that the mean square of an entry is 1 and its variance
    over texts at most that; `norm`: of norm 1 as encoded [R]."""
    energy_weight: float = 0.1
    """lambda 1 (equation 7)."""
    penalty: Literal["frobenius", "dagmm"] = "frobenius"
    """P: mean Frobenius norm of the covariances (published code), or DAGMM's sum of inverse variances (A5)."""
    penalty_weight: float = -0.005
    """lambda 2 (equation 7); `dagmm` needs a positive one, there 0.005."""
    jitter: float = 1e-3
    """Added to the diagonal of each covariance; sets the scale of the energy (A6)."""
    shrinkage: float = 0.0
    """Share by which covariances are pulled to their diagonal (A6 and section 13 of the sheet)."""
    em_steps: int = 0
    """Steps of expectation and maximisation over the training set after the final pass; 0: the closed form (A8)."""
    use_gmm: bool = True
    """False is the ablation "w/o GMM": the score is then that of the first term's head."""
    embedding: Literal["sentence", "learned"] = "sentence"
    """`learned` is the ablation "w/o Sentence-BERT": a vector per training text and one for all others."""
    projection: Literal["fixed", "learned", "pca"] = "fixed"
    """From 384 to `width`: the fixed orthogonal one shared by all methods, a learned linear layer (the sheet's choice)
    or the principal axes of the training texts (A14)."""
    positional: Literal["none", "sinusoidal"] = "none"
    """Positional encoding; paper and code have none (A15)."""
    pooling: Literal["mean", "cls"] = "mean"
    """Of positions to one vector: masked mean, or a learned first token (A4)."""
    merge_repeats: bool = True
    """Compute equal events of a sequence, and equal sequences of a batch, once [R]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.penalty == "dagmm" and self.penalty_weight < 0:
            raise ValueError(
                f"penalty 'dagmm' with penalty_weight {self.penalty_weight} rewards singular covariances: use 0.005"
            )
        if not self.use_gmm and self.first_term not in ("rec", "bce0"):
            raise ValueError(
                f"use_gmm False with first_term '{self.first_term}' leaves nothing to train: choose 'rec' or 'bce0'"
            )
        if self.jitter <= 0 or self.k < 1 or self.celu <= 0 or self.em_steps < 0:
            raise ValueError(
                f"jitter {self.jitter} and celu {self.celu} must be positive, k {self.k} at least 1, "
                f"em_steps {self.em_steps} not negative"
            )
        alphas = [self.alpha] if self.head_alpha is None else [self.alpha, self.head_alpha]
        if not all(1 <= alpha <= 2 for alpha in alphas):
            raise ValueError(
                f"alpha {self.alpha} and head_alpha {self.head_alpha} are from 1 (softmax) to 2 (sparsemax)"
            )
        if self.entmax == "package" and (self.merge_repeats or self.compile):
            setting = "merge_repeats" if self.merge_repeats else "compile"
            raise ValueError(f"entmax 'package' cannot work with {setting} true: set {setting}=false, or entmax=own")
        if not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage {self.shrinkage} is not in [0, 1]")


ORIGINAL: Published = {
    **ADAM,
    "learning_rate": (1e-3, "section 4.1"),
    "steps": (None, "section 4.1 counts epochs"),
    "max_epochs": (30, "section 4.1"),
    "patience": (None, "[R] the paper does not say when it stops; the code goes by test labels"),
    "batch_size": (512, "section 4.1"),
    "validation_fraction": (0.0, "section 4.3: what is not tested trains"),
    "dropout": (0.5, "section 4.1; the code has .1"),
    "centred": (False, "[R] neither paper nor code has such a step"),
    "width": (100, "section 4.1"),
    "layers": (2, "code"),
    "heads": (4, "code"),
    "ffn_width": (256, "code"),
    "celu": (1.0, "[R] A19"),
    "attention_scale": ("head", "section 3.3, in its text (A11)"),
    "alpha": (1.5, "code; section 5.1: best from 1.2 to 1.5"),
    "entmax": ("own", "[R] the code's own does not do what the paper writes; this one does"),
    "head_alpha": (None, "[R] A3: the same alpha"),
    "k": (5, "code"),
    "min_share": (1e-4, "[R] A3"),
    "mixture_dim": (None, "[R] A6: no reduction is stated"),
    "first_term": ("rec", "[R] A1, A2: L is not defined"),
    "rec_target": ("pooled", "[R] A2"),
    "rec_error": ("mean", "[R] A2: mean squared error"),
    "input_scale": ("norm", "section 3.2: vectors as the encoder gives them"),
    "energy_weight": (0.1, "section 3.6"),
    "penalty": ("frobenius", "code; P is not defined in the paper (A5)"),
    "penalty_weight": (-0.005, "section 3.6"),
    "jitter": (1e-3, "[R] A6"),
    "shrinkage": (0.0, "[R] none is stated"),
    "em_steps": (0, "[R] A8: the closed form of section 3.5"),
    "use_gmm": (True, "section 3.5"),
    "embedding": ("sentence", "section 3.2"),
    "projection": ("learned", "[R] A14: 100 dimensions from 384 are not explained"),
    "positional": ("none", "[R] A15: neither paper nor code has one"),
    "pooling": ("mean", "code (A4)"),
    "merge_repeats": (True, "[R] computes the same faster, but for dropout"),
}
