"""A whole model in half precision with a loss averaged over everything: gradients round to zero.

Source: Micikevicius et al., "Mixed precision training" (2018), section 3.2 on gradient underflow.
expect: {"code": "GT104", "line": false, "also": ["GT406"]}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32)).half()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(60):
    x = torch.randn(64, 32, dtype=torch.float16)
    target = x.roll(1, dims=1)
    loss = 1e-3 * nn.functional.mse_loss(model(x), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        g = model[0].weight.grad
        print(step, loss.item(), "zeros", (g == 0).float().mean().item())
