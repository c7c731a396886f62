"""A scorer whose scores only choose: the indices of topk have no gradient.

Source: token selection as in DynamicViT (https://arxiv.org/abs/2106.02034), without its differentiable mask.
expect: {"code": "GT301", "where": {"parameter": ["prune.scorer.0.weight"]}, "line": true}
"""
import torch
from torch import nn


class TokenPruner(nn.Module):
    def __init__(self, d, keep):
        super().__init__()
        self.scorer = nn.Sequential(nn.Linear(d, 8), nn.ReLU(), nn.Linear(8, 1))
        self.keep = keep

    def forward(self, tokens):
        scores = self.scorer(tokens).squeeze(-1)
        idx = torch.topk(scores, self.keep, dim=1).indices  # <- fault
        return torch.gather(tokens, 1, idx.unsqueeze(-1).expand(-1, -1, tokens.size(-1)))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.prune = TokenPruner(16, 4)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.prune(torch.tanh(self.embed(x))).mean(1))


def main():
    torch.manual_seed(0)
    net = Classifier()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for it in range(60):
        x = torch.randn(16, 9, 6)
        y = x.sum(1)[:, :3].argmax(-1)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()


main()
