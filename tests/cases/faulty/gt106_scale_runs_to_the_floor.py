"""Targets in cents and a summed loss: float16 gradients overflow at every scale, and the scaler skips step after step.

Source: forum reports of a GradScaler whose scale falls to zero; PyTorch AMP notes.
expect: {"code": "GT106", "line": false, "also": ["GT202", "GT102"]}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
scaler = torch.amp.GradScaler("cpu")
for step in range(60):
    x = torch.randn(64, 8)
    cents = 3e7 * (1 + x[:, :1])
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        prediction = model(x)
    loss = nn.functional.mse_loss(prediction.float(), cents, reduction="sum") * 1e3
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    if step % 10 == 0:
        print(step, f"loss {loss.item():.3e} scale {scaler.get_scale():.3e}")
