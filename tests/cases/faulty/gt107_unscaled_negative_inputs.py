"""Inputs around -300 (decibels) and positive weights: every unit of the first layer is dead.

Source: DeepLocalize / UMLAUT "inputs not normalised"; https://datascience.stackexchange.com/questions/5706.
expect: {"code": "GT107", "where": {"module": ["0", "1", "conv", "conv.0", "conv.1"]}, "line": false, "also": ["GT302"]}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv1d(1, 16, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(64, 3))
nn.init.uniform_(net[0].weight, 0.0, 0.1)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for step in range(50):
    label = torch.randint(0, 3, (24,))
    spectrum = -300 + 10 * torch.randn(24, 1, 40)
    spectrum[torch.arange(24), 0, label * 10] += 100
    loss = nn.functional.cross_entropy(net(spectrum), label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
