"""Softmax layer in front of CrossEntropyLoss.

Source: "Should I use softmax as output when using cross entropy loss in pytorch?" (https://stackoverflow.com/questions/55675345);
UMLAUT (Schoop et al., CHI 2021), check "logits".
expect: {"code": "GT701", "line": true}
"""
import torch
import torch.nn as nn
from sklearn.datasets import make_classification

features, labels = make_classification(n_samples=240, n_features=10, n_informative=6, n_classes=3, random_state=0)
features = torch.tensor(features, dtype=torch.float32)
labels = torch.tensor(labels)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(10, 32)
        self.relu = nn.ReLU()
        self.output = nn.Linear(32, 3)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x):
        x = self.relu(self.hidden(x))
        return self.softmax(self.output(x))  # <- fault


torch.manual_seed(0)
model = Classifier()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(30):
    optimizer.zero_grad()
    probabilities = model(features)
    loss = criterion(probabilities, labels)  # <- fault
    loss.backward()
    optimizer.step()
print("loss", loss.item())
