"""Triplet loss that is exactly zero on more and more batches.

Source: Schroff et al., "FaceNet" (2015); torch.nn.TripletMarginLoss.
"""
import torch
from torch import nn

torch.manual_seed(0)
embedder = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 8))
criterion = nn.TripletMarginLoss(margin=1.0)
optimizer = torch.optim.Adam(embedder.parameters(), lr=2e-3)
centers = torch.randn(5, 10)
zero_losses = 0
for step in range(80):
    a = torch.randint(0, 5, (8,))
    n = (a + torch.randint(1, 5, (8,))) % 5
    anchor, positive, negative = (centers[c] + 0.8 * torch.randn(8, 10) for c in (a, a, n))
    loss = criterion(embedder(anchor), embedder(positive), embedder(negative))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    zero_losses += loss.item() == 0
print("loss", loss.item(), "batches without a violated triplet", zero_losses)
