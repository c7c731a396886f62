"""A NaN among the regression targets of one late batch.

Source: "Deep-Learning Nan loss reasons" (https://stackoverflow.com/questions/40050397), answer "NaN in the labels".
expect: {"code": "GT204", "line": false}
"""
import torch
from torch import nn


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, series):
        _, h = self.rnn(series)
        return self.head(h[-1])


torch.manual_seed(0)
series = torch.sin(torch.arange(0, 60, 0.1))
windows = series.unfold(0, 13, 1).clone()
windows[402, 12] = float("nan")  # <- fault
model = Forecaster()
criterion = nn.MSELoss()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for start in range(0, len(windows) - 24, 24):
    batch = windows[start : start + 24]
    loss = criterion(model(batch[:, :12, None]), batch[:, 12:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(start, loss.item())
