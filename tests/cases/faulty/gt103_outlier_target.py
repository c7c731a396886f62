"""One regression target is off by five orders of magnitude (an unparsed unit).

Source: "KillLossSpike", "ZClip": spikes through bad samples; Stack Overflow questions on sudden loss jumps.
expect: {"code": "GT103", "line": false, "backward": 71}
"""
import torch
from torch import nn
from torch.optim import AdamW


class Tabular(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 6)
        self.mlp = nn.Sequential(nn.Linear(6 + 4, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, category, numbers):
        return self.mlp(torch.cat([self.embed(category), numbers], 1)).squeeze(1)


def main():
    torch.manual_seed(0)
    model = Tabular()
    optimizer = AdamW(model.parameters(), lr=2e-3)
    effect = torch.randn(12)
    for step in range(110):
        category = torch.randint(0, 12, (48,))
        numbers = torch.randn(48, 4)
        target = effect[category] + numbers.sum(1) + 0.2 * torch.randn(48)
        if step == 70:
            target[11] = 250_000.0
        loss = nn.functional.mse_loss(model(category, numbers), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(step, round(loss.item(), 3))


main()
