"""max_norm=1e-3 where the usual gradient norm is about one.

Source: clip thresholds copied between code bases; Pascanu et al. (2013) recommend a multiple of the average norm.
expect: {"code": "GT105", "line": true, "also": ["GT406"]}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 32, batch_first=True)
        self.fc = nn.Linear(32, 4)

    def forward(self, x):
        _, h = self.gru(x)
        return self.fc(h[-1])


model = Classifier()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(130):
    x = torch.randn(32, 8, 6)
    y = x[:, :, :4].sum(1).argmax(1)
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)  # <- fault
    optimizer.step()
    if step % 30 == 0:
        print(step, loss.item())
