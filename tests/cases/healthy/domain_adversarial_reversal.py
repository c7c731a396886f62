"""DANN: a custom autograd Function flips the gradient between features and domain classifier.

Source: Ganin et al., "Domain-adversarial training of neural networks" (2016).
"""
import torch
from torch import nn
from torch.autograd import Function


class ReverseGradient(Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return -ctx.alpha * grad_output, None


torch.manual_seed(0)
features = nn.Sequential(nn.Linear(6, 24), nn.ReLU())
label_head, domain_head = nn.Linear(24, 2), nn.Linear(24, 2)
optimizer = torch.optim.SGD([*features.parameters(), *label_head.parameters(), *domain_head.parameters()], lr=0.05, momentum=0.9)
for step in range(60):
    alpha = 2 / (1 + 2.718 ** (-step / 10)) - 1
    source, target = torch.randn(32, 6), torch.randn(32, 6) + torch.tensor([0, 0, 0, 0, 1.0, 1.0])
    y = (source[:, 0] > 0).long()
    fs, ft = features(source), features(target)
    domain = domain_head(ReverseGradient.apply(torch.cat([fs, ft]), alpha))
    loss = nn.functional.cross_entropy(label_head(fs), y)
    loss = loss + nn.functional.cross_entropy(domain, torch.arange(2).repeat_interleave(32))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
