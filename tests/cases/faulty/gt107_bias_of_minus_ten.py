"""A hidden ReLU layer whose biases start at -10.

Source: "What is the dying ReLU problem in neural networks?" (https://datascience.stackexchange.com/questions/5706).
expect: {"code": "GT107", "where": {"module": ["fc1", "relu", "act"]}, "line": false, "also": ["GT302"]}
"""
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(10, 64)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(64, 2)
        nn.init.constant_(self.fc1.bias, -10.0)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


torch.manual_seed(0)
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = torch.randn(256, 10)
labels = (data[:, 0] > 0).long()
for epoch in range(10):
    for xb, yb in zip(data.split(64), labels.split(64)):
        loss = nn.functional.cross_entropy(model(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
print("loss", loss.item())
