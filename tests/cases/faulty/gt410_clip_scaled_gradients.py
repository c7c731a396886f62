"""Mixed precision: clipping without scaler.unscale_ clips the scaled gradients.

Source: PyTorch AMP examples, "Gradient clipping" (https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping).
expect: {"code": "GT410", "line": true, "also": ["GT105"]}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
centers = torch.randn(4, 16)
for step in range(60):
    y = torch.randint(0, 4, (32,))
    x = centers[y] + 0.5 * torch.randn(32, 16)
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nn.functional.cross_entropy(model(x), y)
    scaler.scale(loss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # <- fault
    scaler.step(optimizer)
    scaler.update()
    if step % 20 == 0:
        print(step, loss.item(), scaler.get_scale())
