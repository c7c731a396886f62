"""Attention scores of shape (batch, time, 1) are normalised over the last axis instead of time.

Source: additive-attention questions; softmax with dim=-1 over one score.
expect: {"code": ["GT703", "GT302"], "line": true, "also": ["GT302", "GT703"]}
"""
import torch
import torch.nn as nn


class AttentiveLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 16, batch_first=True)
        self.energy = nn.Linear(16, 1)
        self.out = nn.Linear(16, 2)

    def forward(self, x):
        states, _ = self.lstm(x)
        alpha = torch.softmax(self.energy(torch.tanh(states)), dim=-1)  # <- fault
        context = (alpha * states).sum(dim=1)
        return self.out(context)


torch.manual_seed(0)
model = AttentiveLSTM()
opt = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(40):
    x = torch.randn(32, 9, 4)
    y = (x[:, :, 0].max(1).values > 1.4).long()
    loss = nn.functional.cross_entropy(model(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 10 == 0:
        print(step, loss.item())
