"""Inception-like auxiliary head with a small weight, not used in evaluation.

Source: Szegedy et al., "Going deeper with convolutions" (2015).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class WithAux(nn.Module):
    def __init__(self):
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.high = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.aux = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.low(x)
        if self.training:
            return self.fc(self.high(x)), self.aux(x)
        return self.fc(self.high(x))


torch.manual_seed(0)
net = WithAux()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True)
for step in range(60):
    y = torch.randint(0, 3, (24,))
    x = torch.randn(24, 1, 10, 10) + y.view(-1, 1, 1, 1) - 1
    main, aux = net(x)
    loss = F.cross_entropy(main, y) + 0.3 * F.cross_entropy(aux, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
with torch.inference_mode():
    print("loss", loss.item(), "accuracy", (net(x).argmax(1) == y).float().mean().item())
