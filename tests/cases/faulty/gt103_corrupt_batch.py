"""One batch comes as inverted, unscaled pixels (255..0 instead of 0..1).

Source: loss-spike reports of large training runs (PaLM, OLMo); smdebug's and OLMo-core's spike rules.
expect: {"code": "GT103", "line": false, "backward": 81}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
prototypes = torch.rand(5, 3, 6, 6)
for step in range(120):
    y = torch.randint(0, 5, (32,))
    x = prototypes[y] + 0.3 * torch.rand(32, 3, 6, 6)
    if step == 80:
        x = 255 * (1 - x)
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
