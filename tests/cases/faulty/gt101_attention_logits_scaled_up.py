"""Attention logits are multiplied by the dimension rather than divided by its root: the softmax picks one position.

Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1: large logits push the softmax into regions with
extremely small gradients.
expect: {"code": "GT101", "where": {"parameter": ["attention.query.weight", "attention.key.weight"]}, "line": true}
"""
import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.scale = 10.0 * dim

    def forward(self, x):
        logits = self.query(x) @ self.key(x).transpose(1, 2) * self.scale
        return torch.softmax(logits, dim=-1) @ self.value(x)  # <- fault


class Reverser(nn.Module):
    def __init__(self, vocabulary=20, dim=48):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, dim)
        self.attention = Attention(dim)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, tokens):
        return self.head(self.attention(self.embedding(tokens)))


torch.manual_seed(0)
model = Reverser()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(120):
    tokens = torch.randint(0, 20, (16, 12))
    loss = nn.functional.cross_entropy(model(tokens).reshape(-1, 20), tokens.flip(1).reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
