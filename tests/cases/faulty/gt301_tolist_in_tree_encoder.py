"""A set encoder sorts by a learned score with tolist(), so the score layer gets nothing.

Source: "Sorting by a predicted score is not differentiable" (top-k selection questions on the PyTorch forum).
expect: {"code": "GT301", "where": {"parameter": ["scorer.weight", "scorer.bias"]}, "line": true}
"""
import torch
import torch.nn as nn


class SortedEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.scorer = nn.Linear(5, 1)
        self.gru = nn.GRU(5, 16, batch_first=True)
        self.out = nn.Linear(16, 1)

    def forward(self, sets):
        ordered = []
        for items in sets:
            scores = self.scorer(items).flatten().tolist()  # <- fault
            order = sorted(range(len(scores)), key=scores.__getitem__)
            ordered.append(items[order])
        _, h = self.gru(torch.stack(ordered))
        return self.out(h[-1])


torch.manual_seed(0)
model = SortedEncoder()
opt = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(40):
    sets = torch.randn(16, 6, 5)
    target = sets[:, :, 0].max(1, keepdim=True).values
    loss = nn.functional.mse_loss(model(sets), target)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step % 10 == 0:
        print(step, loss.item())
