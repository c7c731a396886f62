"""Self-attention with -inf masks; one sequence is padding only.

Source: "nn.MultiheadAttention causes gradients to become NaN under some use cases" (https://github.com/pytorch/pytorch/issues/41508).
expect: {"code": "GT203", "where": {"op": ["SoftmaxBackward0"], "module": ["attention"]}, "line": true}
"""
import math

import torch
import torch.nn as nn


class SelfAttention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x, pad):
        scores = self.q(x) @ self.k(x).transpose(1, 2) / math.sqrt(x.size(-1))
        scores = scores.masked_fill(pad[:, None, :], float("-inf"))
        weights = torch.softmax(scores, dim=-1)  # <- fault
        return weights @ self.v(x)


class TextClassifier(nn.Module):
    def __init__(self, vocab=40, d=16):
        super().__init__()
        self.embed = nn.Embedding(vocab, d, padding_idx=0)
        self.attention = SelfAttention(d)
        self.fc = nn.Linear(d, 2)

    def forward(self, tokens):
        x = self.embed(tokens)
        return self.fc(self.attention(x, tokens == 0).mean(1))


torch.manual_seed(0)
model = TextClassifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(20):
    tokens = torch.randint(1, 40, (16, 10))
    lengths = torch.randint(2, 11, (16,))
    if step == 11:
        lengths[5] = 0
    tokens[torch.arange(10)[None] >= lengths[:, None]] = 0
    labels = (tokens > 20).sum(1).gt(3).long()
    loss = nn.functional.cross_entropy(model(tokens), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
