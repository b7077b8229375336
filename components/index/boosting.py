"""UEPPR's ANN-based product boosting: one weight vector w for all queries, tuned after training.

p' = [p; f(p)] and q' = [q; w], so dot(p', q') = dot(p, q) + dot(f(p), w): a product's quality moves its place without a
change to the index. w is searched by black-box optimisation (Optuna's TPE; the paper uses skopt) for the recall of
purchases made after the training window. p and q are of unit length first where the score is a cosine.

The paper tunes and stops there. Here half of the searches is kept from the tuning: w is taken only if it helps the
other half too, by more than the standard error of the difference; else luck with a few hundred purchases would reorder
the shop. w = 0 is always a candidate, so boosting never lowers the recall it is tuned on.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from components.common.files import read_json, write_json
from components.index.quality import Quality
from components.index.resident import ExactEngine
from components.index.settings import IndexSettings

_CANDIDATES = 1000  # products a query whose places can change; boosts are bounded by the spread of the best k scores
LEAST_SEARCHES = 30


@dataclass(frozen=True)
class Boosting:
    """Weights float32 [f] (empty: off), the quality scale they belong to, and what tuning found."""

    weights: np.ndarray
    quality: Quality
    report: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def off(cls, reason: str) -> "Boosting":
        """No boosting: vectors stay as the towers made them."""
        return cls(np.zeros(0, dtype=np.float32), Quality({}), {"on": False, "reason": reason})

    @property
    def on(self) -> bool:
        """Whether vectors carry quality features."""
        return bool(len(self.weights))

    def describe(self) -> dict[str, Any]:
        """What boosting.json and the release's manifest hold."""
        return {
            "on": self.on,
            "features": self.quality.names,
            "weights": [float(weight) for weight in self.weights],
            "quantiles": self.quality.quantiles,
            "report": self.report,
        }

    def write(self, path: Path) -> None:
        """Writes boosting.json."""
        write_json(path, self.describe())

    @classmethod
    def read(cls, path: Path) -> "Boosting":
        """Reads boosting.json. Raises NotFound or BadInput."""
        body = read_json(path)
        return cls(np.array(body["weights"], dtype=np.float32), Quality(body["quantiles"]), body["report"])


def tune_boosting(
    queries: np.ndarray,
    vectors: np.ndarray,
    features: np.ndarray,
    quality: Quality,
    positives: list[np.ndarray],
    settings: IndexSettings,
    what: str = "purchases",
) -> Boosting:
    """Searches w for the recall@100 (less in a small catalogue) of the products bought.

    Args:
        queries: query vectors float32 [m, d], unit length for cosine.
        vectors: item vectors float32 [n, d].
        features: f(p) float32 [n, f].
        quality: the scale of the features.
        positives: catalogue rows bought after each query [m].
        settings: trials, seed, depth.
        what: the name of the positives in the report.
    """
    if not quality.names:
        return Boosting.off("the catalogue has no quality feature (rating, review_count, sales, updated_at)")
    if len(queries) < LEAST_SEARCHES:
        return Boosting.off(f"only {len(queries)} searches led to {what}; {LEAST_SEARCHES} are needed")
    k = _depth(vectors, settings)
    bench = _Bench(queries, vectors, features, positives, k)
    held_out = np.random.default_rng(settings.seed).permutation(len(queries)) % 2 == 1
    tried = bench.search(~held_out, settings.boosting_trials, settings.seed)
    zero, best = bench.recalls(np.zeros(features.shape[1])), bench.recalls(tried)
    report: dict[str, Any] = {
        "metric": f"recall@{k} of {what}",
        "searches": len(queries),
        "trials": settings.boosting_trials,
        "tuned_half": {"without": float(zero[~held_out].mean()), "with": float(best[~held_out].mean())},
        "held_out_half": {"without": float(zero[held_out].mean()), "with": float(best[held_out].mean())},
        "found": dict(zip(quality.names, (float(weight) for weight in tried), strict=True)),
    }
    gain = best[held_out] - zero[held_out]
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
    report["held_out_half"]["standard_error"] = error
    helped = float(best[~held_out].mean()) > float(zero[~held_out].mean())
    if not helped or float(gain.mean()) <= error:
        reason = (
            "the weights did not help searches they were not tuned on" if helped else "no weights raised the recall"
        )
        return Boosting(np.zeros(0, dtype=np.float32), Quality({}), {**report, "on": False, "reason": reason})
    return Boosting(tried.astype(np.float32), quality, {**report, "on": True})


def compare_boosting(
    queries: np.ndarray,
    vectors: np.ndarray,
    features: np.ndarray,
    positives: list[np.ndarray],
    boosting: Boosting,
    settings: IndexSettings,
) -> dict[str, Any]:
    """Recall without and with the weights, on searches that had no part in finding them; else as `tune_boosting`."""
    k = _depth(vectors, settings)
    bench = _Bench(queries, vectors, features, positives, k)
    without, with_weights = bench.recalls(np.zeros(features.shape[1])), bench.recalls(boosting.weights)
    return {"searches": len(queries), "k": k, "without": float(without.mean()), "with": float(with_weights.mean())}


def _depth(vectors: np.ndarray, settings: IndexSettings) -> int:
    return max(1, min(settings.recall_k, len(vectors) // 10))


class _Bench:
    """Recall of purchases under any w, over the products that can reach the best k."""

    def __init__(
        self, queries: np.ndarray, vectors: np.ndarray, features: np.ndarray, positives: list[np.ndarray], k: int
    ) -> None:
        found = ExactEngine(vectors).search(queries, min(len(vectors), max(_CANDIDATES, 2 * k)))
        rows = np.stack([rows for rows, _ in found])  # [m, c]
        self._k = k
        self._scores = np.stack([scores for _, scores in found])  # [m, c]
        self._features = features[rows]  # [m, c, f]
        self._query = np.repeat(np.arange(len(queries)), [len(bought) for bought in positives])
        bought = np.concatenate(positives)
        self._bought_scores = np.einsum("pd,pd->p", queries[self._query], vectors[bought])
        self._bought_features = features[bought]
        self._counts = np.bincount(self._query, minlength=len(queries))
        self.bound = float(np.median(self._scores[:, 0] - self._scores[:, k - 1]))

    def recalls(self, weights: np.ndarray) -> np.ndarray:
        """Share of its purchases that each query finds among the best k, float64 [m]."""
        w = np.asarray(weights, dtype=np.float32)
        scores = self._scores + self._features @ w
        last = np.partition(scores, scores.shape[1] - self._k, axis=1)[:, scores.shape[1] - self._k]
        # The products bought are scored by another sum than the candidates; a rounding error must not drop the k-th.
        reached = self._bought_scores + self._bought_features @ w >= last[self._query] - 1e-5 * np.abs(
            last[self._query]
        )
        return np.bincount(self._query, weights=reached, minlength=len(self._counts)) / np.maximum(1, self._counts)

    def search(self, part: np.ndarray, trials: int, seed: int) -> np.ndarray:
        """The best w float64 [f] for the searches of `part` (bool [m]); w = 0 is tried first and wins ties."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        names = [f"w{number}" for number in range(self._features.shape[2])]
        bound = max(self.bound, 1e-6)

        def objective(trial: "optuna.Trial") -> float:
            weights = np.array([trial.suggest_float(name, -bound, bound) for name in names])
            return float(self.recalls(weights)[part].mean())

        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.enqueue_trial(dict.fromkeys(names, 0.0))
        study.optimize(objective, n_trials=trials)
        first, best = study.trials[0], study.best_trial
        chosen = first if (first.value or 0.0) >= (best.value or 0.0) else best
        return np.array([chosen.params[name] for name in names])
