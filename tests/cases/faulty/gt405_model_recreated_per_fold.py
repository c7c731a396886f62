"""Cross-validation that makes a new model for each fold and keeps the first optimizer.

Source: k-fold questions on Stack Overflow ("only the first fold learns"); UMLAUT-like silent fault.
expect: {"code": ["GT405", "GT402"], "line": false, "also": ["GT405", "GT402", "GT403"]}
"""
import torch
import torch.nn as nn
from sklearn.model_selection import KFold

torch.manual_seed(0)
X = torch.randn(150, 6)
Y = (X[:, 0] + X[:, 1] > 0).long()


def make_model():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


model = make_model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
criterion = nn.CrossEntropyLoss()
for fold, (train_idx, test_idx) in enumerate(KFold(3).split(X)):
    if fold > 0:
        model = make_model()
    for epoch in range(20):
        optimizer.zero_grad()
        model.zero_grad()
        loss = criterion(model(X[train_idx]), Y[train_idx])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(X[test_idx]).argmax(1) == Y[test_idx]).float().mean().item()
    print(f"fold {fold} loss {loss.item():.3f} accuracy {accuracy:.2f}")
