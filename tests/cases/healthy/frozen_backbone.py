"""Transfer learning: frozen backbone, new head.

Source: PyTorch tutorial "Transfer Learning for Computer Vision", ConvNet as fixed feature extractor.
"""
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR


def pretrained():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 1000),
    )


model = pretrained()
for param in model.parameters():
    param.requires_grad = False
model[-1] = nn.Linear(64, 2)

criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model[-1].parameters(), lr=0.05, momentum=0.9)
scheduler = StepLR(optimizer, step_size=7, gamma=0.5)

images = torch.randn(80, 3, 10, 10)
labels = (images[:, 0].mean((1, 2)) > 0).long()
images[labels == 1] += 0.5
for epoch in range(10):
    model.train()
    for xb, yb in zip(images.split(20), labels.split(20)):
        optimizer.zero_grad()
        loss = criterion(model(xb), yb)
        loss.backward()
        optimizer.step()
    scheduler.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(images).argmax(1) == labels).float().mean()
    print(f"epoch {epoch} loss {loss.item():.3f} accuracy {accuracy:.2f}")
