"""Per-level losses of a pyramid are packed with torch.tensor; only the last term keeps its graph.

Source: "To copy construct from a tensor ..." (https://stackoverflow.com/questions/55266154); torch.tensor of tensors copies the values.
expect: {"code": "GT301", "where": {"parameter": ["levels.0.weight", "levels.0.bias", "levels.1.weight", "levels.2.weight"]}, "line": true}
"""
import torch
import torch.nn as nn


class Pyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv1d(1, 1, k, padding=k // 2) for k in (3, 5, 7))
        self.final = nn.Conv1d(3, 1, 1)

    def forward(self, x):
        maps = [level(x) for level in self.levels]
        return maps, self.final(torch.cat([x, x**2, x**3], 1))


def multi_scale_loss(maps, final, target):
    side = torch.tensor([nn.functional.mse_loss(m, target) for m in maps])  # <- fault
    return side.mean() + nn.functional.mse_loss(final, target)


torch.manual_seed(0)
net = Pyramid()
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
for it in range(50):
    x = torch.randn(16, 1, 20)
    target = x.cumsum(-1) / 5
    maps, final = net(x)
    loss = multi_scale_loss(maps, final, target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
