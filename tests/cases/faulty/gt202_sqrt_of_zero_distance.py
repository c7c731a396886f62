"""Euclidean distance by hand: the square root meets an exact zero in the backward pass.

Source: "Function 'MseLossBackward' returned nan values in its 0th output"
(https://discuss.pytorch.org/t/function-mselossbackward-returned-nan-values-in-its-0th-output/94875).
expect: {"code": ["GT202", "GT201"], "where": {"op": ["SqrtBackward0"]}, "line": true}
"""
import torch
import torch.nn as nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 16)
        self.fc2 = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


def contrastive_loss(a, b, same, margin=1.0):
    distance = torch.sqrt(((a - b) ** 2).sum(dim=1))  # <- fault
    positive = same * distance**2
    negative = (1 - same) * torch.clamp(margin - distance, min=0) ** 2
    return (positive + negative).mean()


torch.manual_seed(0)
net = Encoder()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
for step in range(20):
    left = torch.randn(16, 6)
    right = torch.randn(16, 6)
    same = torch.zeros(16)
    right[:8] = left[:8] + 0.05 * torch.randn(8, 6)
    same[:8] = 1
    if step == 9:
        right[3] = left[3]
    loss = contrastive_loss(net(left), net(right), same)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, loss.item())
