"""A loss summed over a sequence, a customary clip at 1.0, and Adam, which takes the cut back.

Source: a program of our own, written without a look at the rules; norms are hundreds of times the limit and the model learns.
"""
import torch
from torch import nn

torch.manual_seed(0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 32, 2, batch_first=True)
        self.o = nn.Linear(32, 4)

    def forward(self, x):
        return self.o(self.lstm(x)[0])


m = Model()
opt = torch.optim.Adam(m.parameters(), lr=1e-3)
for i in range(100):
    x = torch.randn(16, 25, 4).cumsum(1)
    loss = ((m(x[:, :-1]) - x[:, 1:]) ** 2).sum() / 16
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(m.parameters(), 1.0)
    opt.step()
