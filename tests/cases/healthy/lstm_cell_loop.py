"""LSTMCell unrolled by hand over eighty steps with a loss at every step.

Source: PyTorch example "time_sequence_prediction".
"""
import torch
from torch import nn

torch.manual_seed(0)


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm1 = nn.LSTMCell(1, 16)
        self.linear = nn.Linear(16, 1)

    def forward(self, series):
        h = torch.zeros(series.size(0), 16)
        c = torch.zeros(series.size(0), 16)
        outputs = []
        for value in series.split(1, dim=1):
            h, c = self.lstm1(value, (h, c))
            outputs.append(self.linear(h))
        return torch.cat(outputs, dim=1)


t = torch.arange(81) / 6
data = torch.sin(t + 3 * torch.rand(12, 1))
seq = Sequence()
optimizer = torch.optim.Adam(seq.parameters(), lr=1e-2)
for step in range(20):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(seq(data[:, :-1]), data[:, 1:])
    loss.backward()
    optimizer.step()
    if step % 5 == 0:
        print(step, loss.item())
