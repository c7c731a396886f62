"""float16 autocast without a GradScaler and a loss so small that all of its gradient is zero after the first cast.

Source: PyTorch AMP documentation, "Gradient Scaling" (gradients with small magnitudes underflow to zero).
expect: {"code": "GT104", "where": {"op": ["ToCopyBackward0"]}, "line": true}
"""
import torch
import torch.nn as nn


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Conv2d(1, 16, 3, padding=1)
        self.decode = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x):
        return self.decode(torch.relu(self.encode(x)))


torch.manual_seed(0)
net = Denoiser()
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
for step in range(40):
    clean = 1e-2 * torch.rand(8, 1, 20, 20)
    noisy = clean + 1e-3 * torch.randn_like(clean)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        loss = 1e-4 * nn.functional.mse_loss(net(noisy).float(), clean)  # <- fault
    loss.backward()
    optimizer.step()
