"""A CRF whose mask forbids every way into one tag: log-sum-exp over a column of -inf has a NaN for its derivative.

Source: pytorch issue 31829, "Improve gradient stability of logsumexp, softmax, log_softmax, logsigmoid at -inf".
expect: {"code": "GT201", "where": {"op": ["LogsumexpBackward0"]}, "line": true, "backward": 1}
"""
import torch
from torch import nn


class Crf(nn.Module):
    def __init__(self, tags, allowed):
        super().__init__()
        self.emission = nn.Linear(12, tags)
        self.transition = nn.Parameter(0.1 * torch.randn(tags, tags))
        self.register_buffer("allowed", allowed)

    def log_partition(self, scores):
        transition = self.transition.masked_fill(~self.allowed, float("-inf"))
        alpha = scores[:, 0]
        for step in range(1, scores.size(1)):
            alpha = torch.logsumexp(alpha.unsqueeze(2) + transition, dim=1) + scores[:, step]  # <- fault
        return torch.logsumexp(alpha, dim=1)

    def forward(self, features, tags):
        scores = self.emission(features)
        path = scores.gather(2, tags.unsqueeze(2)).squeeze(2).sum(1)
        moves = self.transition[tags[:, :-1], tags[:, 1:]].sum(1)
        return (self.log_partition(scores) - path - moves).mean()


torch.manual_seed(0)
allowed = torch.ones(5, 5, dtype=torch.bool)
allowed[:, 4] = False
model = Crf(5, allowed)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(10):
    features = torch.randn(16, 7, 12)
    tags = features[:, :, :4].argmax(2)
    optimizer.zero_grad()
    loss = model(features, tags)
    loss.backward()
    optimizer.step()
