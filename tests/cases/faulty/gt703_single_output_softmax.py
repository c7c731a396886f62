"""Binary classifier with one output unit and a softmax over it: always one.

Source: "Keras binary classification with softmax on one unit always predicts 1" family on Stack Overflow; DeepLocalize benchmark.
expect: {"code": ["GT703", "GT302"], "line": true, "also": ["GT302", "GT703"]}
"""
import torch
import torch.nn as nn
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

X, y = load_breast_cancer(return_X_y=True)
X = torch.tensor(scale(X)[:320], dtype=torch.float32)
y = torch.tensor(y[:320], dtype=torch.float32).view(-1, 1)


class Diagnosis(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(30, 16)
        self.fc2 = nn.Linear(16, 1)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        return torch.softmax(self.fc2(x), dim=1)  # <- fault


torch.manual_seed(0)
model = Diagnosis()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.BCELoss()
for epoch in range(5):
    for i in range(0, 320, 40):
        loss = criterion(model(X[i : i + 40]), y[i : i + 40])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
