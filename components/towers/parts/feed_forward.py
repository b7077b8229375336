"""The feed-forward head of a tower: concatenated feature groups to one vector, with a linear way around."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.common.errors import BadInput


class GroupsFeedForward(nn.Module):
    """`W_skip x + W_2 act(norm(W_1 x))` over the concatenated groups x.

    Args:
        widths: of the groups, in order.
        start: weight each group has in the output before the first step; a group of another width than `output` must
            have 0. W_skip starts as these multiples of the identity and W_2 at zero.
        hidden: width of the hidden layer.
        output: width of the result.
        batch_norm: batch normalisation of the hidden layer (product tower), else layer normalisation (query tower).

    Inputs: one tensor a group, [R, width of the group] each. Returns float32 [R, output].

    References: UEPPR (arXiv 2306.04833v2): feed-forward layers with batch normalisation over the concatenated groups;
    depth and widths are not given. The way around is ours: a query and a title with the same tokens lie close before
    the first step, and a small log need not spend itself on finding that out.
    """

    def __init__(
        self, widths: Sequence[int], start: Sequence[float], hidden: int, output: int, batch_norm: bool
    ) -> None:
        super().__init__()
        if len(widths) != len(start) or any(s and w != output for w, s in zip(widths, start, strict=True)):
            raise BadInput(f"groups of widths {tuple(widths)} can't start with weights {tuple(start)}.")
        self.skip = nn.Linear(sum(widths), output, bias=False)
        self.inner = nn.Linear(sum(widths), hidden)
        self.norm: nn.Module = nn.BatchNorm1d(hidden) if batch_norm else nn.LayerNorm(hidden)
        self.outer = nn.Linear(hidden, output)
        parts = [
            weight * torch.eye(output) if weight else torch.zeros(output, width)
            for width, weight in zip(widths, start, strict=True)
        ]
        with torch.no_grad():
            self.skip.weight.copy_(torch.cat(parts, dim=1))
            self.outer.weight.zero_()
            self.outer.bias.zero_()

    def forward(self, groups: Sequence[Tensor]) -> Tensor:
        """Vectors [R, output]."""
        x = torch.cat(list(groups), dim=1)  # [R, sum of widths]
        return self.skip(x) + self.outer(nn.functional.gelu(self.norm(self.inner(x))))
