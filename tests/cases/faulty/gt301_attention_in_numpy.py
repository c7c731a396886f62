"""Attention pooling computed with NumPy in the middle of forward.

Source: "Lack of gradient when creating tensor from numpy" (https://stackoverflow.com/questions/65532022).
expect: {"code": "GT301", "where": {"parameter": ["score.weight", "score.bias"]}, "line": true}
"""
import numpy as np
import torch
from torch import nn


class AttentionPooling(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.score = nn.Linear(dim, 1)
        self.out = nn.Linear(dim, 1)

    def forward(self, seq):
        scores = self.score(seq).squeeze(-1)
        arr = scores.detach().numpy()  # <- fault
        arr = np.exp(arr - arr.max(axis=1, keepdims=True))
        weights = torch.from_numpy(arr / arr.sum(axis=1, keepdims=True))
        pooled = (weights.unsqueeze(-1) * seq).sum(dim=1)
        return self.out(pooled)


def make_batch(rng, n=32, length=6, dim=8):
    seq = rng.normal(size=(n, length, dim)).astype(np.float32)
    best = seq[:, :, 0].argmax(1)
    target = seq[np.arange(n), best, 1]
    return torch.from_numpy(seq), torch.from_numpy(target[:, None])


rng = np.random.default_rng(0)
torch.manual_seed(0)
model = AttentionPooling(8)
optim = torch.optim.SGD(model.parameters(), lr=0.1)
history = []
for it in range(50):
    x, t = make_batch(rng)
    optim.zero_grad()
    loss = nn.functional.mse_loss(model(x), t)
    loss.backward()
    optim.step()
    history.append(loss.item())
print("first", history[0], "last", np.mean(history[-10:]))
