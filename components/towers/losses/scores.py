"""How a query's vectors and an item's vector become one score.

`InnerProduct` is the score of every model whose query is one vector (a cosine is the inner product of unit vectors).
`SoftMaximum` is the score of a query with several vectors. Losses take either and never multiply vectors themselves.
"""

import torch
from torch import Tensor

from components.common.errors import BadSetting


class InnerProduct:
    """One query vector, one inner product (MGDSPR Eq. 1: F is the plain inner product).

    Args: none.

    Inputs and results:

        | method | queries | items | result |
        | --- | --- | --- | --- |
        | rows | [B, d] | [B, d] | [B] |
        | grid | [B, d] | [B, G, d] | [B, G] |
        | all | [B, d] | [M, d] | [B, M] |

    Example:
        >>> import torch
        >>> InnerProduct().all(torch.eye(2), torch.tensor([[3.0, 4.0]]))
        tensor([[3.],
                [4.]])
    """

    linear = True  # s(q, a*x + b*y) = a*s(q, x) + b*s(q, y): mixed negatives need no mixed vectors

    def rows(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of aligned rows."""
        return (queries * items).sum(-1)  # [B]

    def grid(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of each query with its own G items."""
        return torch.bmm(items, queries.unsqueeze(2)).squeeze(2)  # [B, G]

    def all(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of every query with every item."""
        return queries @ items.T  # [B, M]


class SoftMaximum:
    """Several query vectors scored apart and joined by attention over their own scores.

    `s(q, i) = sum_h w_h <q_h, i>` with `w = softmax_h(<q_h, i> / beta)`: the larger a vector's score, the more it
    counts; `beta -> 0` is the maximum, `beta -> infinity` the mean.

    Args:
        beta: temperature of the attention over the H query vectors, above 0.

    Inputs and results: as `InnerProduct`, with queries [B, H, d].

    References:
        - DPSR (Zhang et al., SIGIR 2020), the score of its multi-head query tower.
        - Here it is the reading (B) of MMSE's post-fusion, which is ours: the abstract does not say how it fuses.

    Relations:
        - `InnerProduct` costs one product; this costs H, and an index must be asked H times to answer it exactly.

    Example:
        >>> import torch
        >>> heads = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> SoftMaximum(beta=0.01).all(heads, torch.tensor([[3.0, 4.0]]))
        tensor([[4.]])
    """

    linear = False

    def __init__(self, beta: float = 0.1) -> None:
        if not beta > 0:
            raise BadSetting(f"beta of the soft maximum must be above 0, not {beta}.")
        self.beta = beta

    def _join(self, scores: Tensor, axis: int) -> Tensor:
        return (torch.softmax(scores / self.beta, dim=axis) * scores).sum(axis)

    def rows(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of aligned rows."""
        per_head = torch.bmm(queries, items.unsqueeze(2)).squeeze(2)  # [B, H]
        return self._join(per_head, 1)  # [B]

    def grid(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of each query with its own G items."""
        per_head = torch.bmm(queries, items.transpose(1, 2))  # [B, H, G]
        return self._join(per_head, 1)  # [B, G]

    def all(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of every query with every item."""
        per_head = queries @ items.T  # [B, H, M]
        return self._join(per_head, 1)  # [B, M]


Score = InnerProduct | SoftMaximum
