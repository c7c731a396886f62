"""requires_grad_(True) silences the error that the error rate has no gradient.

Source: torch.Tensor.requires_grad_ (https://pytorch.org/docs/stable/generated/torch.Tensor.requires_grad_.html).
expect: {"code": ["GT303", "GT301"], "line": true}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
features = torch.randn(120, 6)
target = (features[:, 0] + features[:, 1] > 0).long()

clf = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(clf.parameters(), lr=1e-2)


def error_rate(logits, y):
    predictions = logits.argmax(dim=1)  # <- fault
    return (predictions != y).float().mean()


for epoch in range(40):
    optimizer.zero_grad()
    logits = clf(features)
    loss = error_rate(logits, target)
    loss.requires_grad_(True)
    loss.backward()
    optimizer.step()
    if epoch % 10 == 0:
        print(epoch, loss.item())
