"""The classifier head is replaced after the optimizer was built.

Source: PyTorch transfer-learning questions ("new fc layer does not train"); torch.optim documentation, note on constructing optimizers.
expect: {"code": ["GT402", "GT405"], "where": {"parameter": ["fc.weight", "fc.bias"]}, "line": false, "also": ["GT402", "GT405"]}
"""
import torch
import torch.nn as nn


class SmallResNet(nn.Module):
    def __init__(self, num_classes=1000):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.block(x)
        return self.fc(x.mean((2, 3)))


torch.manual_seed(0)
model = SmallResNet()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
model.fc = nn.Linear(8, 4)

centers = torch.rand(4, 3, 1, 1)
for epoch in range(5):
    for _ in range(8):
        labels = torch.randint(0, 4, (16,))
        images = centers[labels] + 0.2 * torch.randn(16, 3, 6, 6)
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.zero_grad()
    print(epoch, loss.item())
