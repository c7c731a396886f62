"""autocast to float16 without a GradScaler on a dense-prediction loss.

Source: PyTorch AMP documentation, "Gradient Scaling" (small float16 gradients flush to zero without it).
expect: {"code": "GT104", "line": false, "also": ["GT406", "GT302"]}
"""
import torch
from torch import nn


class DepthNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(64, 128)
        self.middle = nn.Linear(128, 128)
        self.decode = nn.Linear(128, 1024)

    def forward(self, x):
        return self.decode(torch.relu(self.middle(torch.relu(self.encode(x)))))


torch.manual_seed(0)
net = DepthNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
fixed = torch.randn(64, 1024)
for step in range(50):
    x = torch.randn(128, 64)
    depth = (x @ fixed).abs() * 0.01
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        prediction = net(x) * 0.01
        loss = nn.functional.mse_loss(prediction.float(), depth)
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        g = net.encode.weight.grad
        print(step, loss.item(), "zeros", (g == 0).float().mean().item())
