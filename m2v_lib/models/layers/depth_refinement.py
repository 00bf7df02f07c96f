"""The refinement of two systems: x and y anew from the input's pixels and the true root depth.

It reads what no lifter knows, the root's depth and the camera: numbers with it stand apart.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# B batch, T frames (1), J joints, C channels


class PoseRefinement(nn.Module):
    """A learned mean of two estimates of x and y, joint by joint; depth stays the first's."""

    def __init__(self, n_joints: int = 17, dim: int = 1024, dropout: float = 0.5) -> None:
        super().__init__()
        self.post_refine = nn.Sequential(
            nn.Linear(n_joints * 6, dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(dim, n_joints * 2),
            nn.Sigmoid(),
        )

    def forward(self, pose_BTJ3: Tensor, projected_BTJ3: Tensor) -> Tensor:
        """The network's pose and that of `back_projected`, both (B, T, J, 3) -> (B, T, J, 3)."""
        both_BTC = torch.cat([pose_BTJ3, projected_BTJ3], dim=-1).flatten(2)
        score_BTJ2 = self.post_refine(both_BTC).unflatten(-1, (-1, 2))

        xy_BTJ2 = score_BTJ2 * pose_BTJ3[..., :2] + (1 - score_BTJ2) * projected_BTJ3[..., :2]
        return torch.cat([xy_BTJ2, pose_BTJ3[..., 2:]], dim=-1)


def back_projected(
    pose_BTJ3: Tensor, x_BTJ2: Tensor, root_depth_BT: Tensor, focal_B2: Tensor, centre_B2: Tensor
) -> Tensor:
    """The pose whose joints lie on the rays of the input, at predicted depth + true root depth.

    `x_BTJ2`, focal length and centre in normalised image units, without distortion; depth in the
    pose's unit. Root-relative, root 0.
    """
    depth_BTJ = pose_BTJ3[..., 2] + root_depth_BT[..., None]
    depth_BTJ = torch.cat([root_depth_BT[..., None], depth_BTJ[..., 1:]], dim=-1)

    rays_BTJ2 = (x_BTJ2 - centre_B2[:, None, None]) / focal_B2[:, None, None]
    points_BTJ3 = (
        torch.cat([rays_BTJ2, torch.ones_like(rays_BTJ2[..., :1])], -1) * depth_BTJ[..., None]
    )
    return points_BTJ3 - points_BTJ3[:, :, :1]
