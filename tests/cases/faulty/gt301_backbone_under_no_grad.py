"""Fine-tuning where the backbone still runs under no_grad.

Source: "Model.eval() vs with torch.no_grad()" (https://discuss.pytorch.org/t/model-eval-vs-with-torch-no-grad/19615).
expect: {"code": "GT301", "where": {"parameter": ["backbone.conv1.weight", "backbone.conv2.weight"]}, "line": true}
"""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv2(x))
        return x.mean(dim=(2, 3))


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Linear(16, 3)

    def forward(self, images):
        with torch.no_grad():  # <- fault
            features = self.backbone(images)  # <- fault
        return self.head(features)


def main():
    torch.manual_seed(1)
    images = torch.randn(96, 1, 8, 8)
    labels = (images.mean(dim=(1, 2, 3)) * 20).clamp(-1, 1).round().long() + 1
    loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True)

    model = Classifier()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(6):
        total = 0.0
        for x, y in loader:
            logits = model(x)
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print("epoch", epoch, "loss", total / len(loader))


if __name__ == "__main__":
    main()
