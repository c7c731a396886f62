"""Losses that compare all with all on purpose.

Source: CLIP (https://arxiv.org/abs/2103.00020) and A Kernel Two-Sample Test (https://jmlr.org/papers/v13/gretton12a.html).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class CLIPish(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Linear(12, 16)
        self.text = nn.Linear(9, 16)
        self.logit_scale = nn.Parameter(torch.tensor(2.6593))

    def forward(self, a, b):
        a = F.normalize(self.image(a), dim=-1)
        b = F.normalize(self.text(b), dim=-1)
        logits = self.logit_scale.exp() * a @ b.t()
        labels = torch.arange(len(a))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.t(), labels)) / 2


def rbf(u, v, s=1.0):
    return torch.exp(-((u[:, None] - v[None, :]) ** 2).sum(-1) / (2 * s))


def pairwise_rank_loss(scores, target):
    ds = scores.view(-1, 1) - scores.view(1, -1)
    dt = (target.view(-1, 1) - target.view(1, -1)).sign()
    return F.softplus(-ds * dt).mean()


torch.manual_seed(0)
model = CLIPish()
scorer = nn.Linear(16, 1)
opt = torch.optim.AdamW([*model.parameters(), *scorer.parameters()], lr=1e-3)
m = torch.randn(12, 9)
for _ in range(60):
    img = torch.randn(32, 12)
    txt = img @ m + 0.1 * torch.randn(32, 9)
    emb = model.image(img)
    mmd = rbf(emb, emb).mean() - 2 * rbf(emb, torch.randn(32, 16)).mean()
    loss = model(img, txt) + 0.1 * mmd + pairwise_rank_loss(scorer(emb).squeeze(1), img[:, 0])
    opt.zero_grad()
    loss.backward()
    opt.step()
