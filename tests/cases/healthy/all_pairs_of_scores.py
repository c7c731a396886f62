"""A ranking loss over all pairs of a column of scores, weighted by how far apart their labels are.

Source: Burges et al., "Learning to Rank using Gradient Descent" (2005).
"""
import torch
from torch import nn

torch.manual_seed(0)
scorer = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 1))
optimizer = torch.optim.Adam(scorer.parameters(), lr=1e-3)
for step in range(80):
    x = torch.randn(24, 6)
    label = 2 * x[:, 0] - x[:, 1]
    score = scorer(x)
    apart = label.unsqueeze(1) - label.unsqueeze(0)
    loss = (apart.abs() * nn.functional.softplus(-torch.sign(apart) * (score - score.squeeze(1)))).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
