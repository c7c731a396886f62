"""A residual network of twenty blocks with BatchNorm, zero-initialised last gamma.

Source: He et al. (2016); Goyal et al. (2017) for zero-gamma.
"""
import torch
import torch.nn as nn


class BasicBlock(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + x)


class ResNet(nn.Module):
    def __init__(self, depth=20, planes=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(*[BasicBlock(planes) for _ in range(depth)])
        self.fc = nn.Linear(planes, 4)

    def forward(self, x):
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


torch.manual_seed(0)
model = ResNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
prototypes = torch.randn(4, 1, 6, 6)
for step in range(20):
    y = torch.randint(0, 4, (16,))
    x = prototypes[y] + 0.3 * torch.randn(16, 1, 6, 6)
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 5 == 0:
        print(step, loss.item())
