"""Every weight of an LSTM starts as 0.1: its units stay alike, its gates do not.

Source: a program of our own, written without a look at the rules.
expect: {"code": "GT108", "where": {"module": ["lstm"]}}
"""
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 16, batch_first=True)
        self.fc = nn.Linear(16, 1)
        for p in self.parameters():
            nn.init.constant_(p, 0.1)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1]).squeeze(-1)


torch.manual_seed(0)
net = Net()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
for i in range(50):
    x = torch.randn(16, 12, 3)
    y = x[..., 0].sum(1)
    loss = nn.MSELoss()(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
