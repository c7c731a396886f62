"""Learned task weights that no optimizer knows.

Source: Kendall et al., "Multi-task learning using uncertainty to weigh losses" (2018); re-implementation questions.
expect: {"code": "GT402", "where": {"parameter": ["log_vars", "MultiTaskLoss.log_vars", "criterion.log_vars"]}, "line": false}
"""
import torch
import torch.nn as nn


class TwoTaskNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(9, 32), nn.ReLU())
        self.regress = nn.Linear(32, 1)
        self.classify = nn.Linear(32, 3)

    def forward(self, x):
        h = self.shared(x)
        return self.regress(h), self.classify(h)


class MultiTaskLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_vars = nn.Parameter(torch.zeros(2))

    def forward(self, outputs, targets):
        mse = nn.functional.mse_loss(outputs[0], targets[0])
        ce = nn.functional.cross_entropy(outputs[1], targets[1])
        return (torch.exp(-self.log_vars) * torch.stack([mse, ce]) + self.log_vars).sum()


torch.manual_seed(0)
net = TwoTaskNet()
criterion = MultiTaskLoss()
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for step in range(50):
    x = torch.randn(32, 9)
    targets = (x[:, :1] * 2 + x[:, 1:2], x[:, 2:5].argmax(1))
    loss = criterion(net(x), targets)
    net.zero_grad()
    criterion.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item(), criterion.log_vars.data.tolist())
