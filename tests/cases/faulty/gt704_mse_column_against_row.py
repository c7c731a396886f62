"""MSE between (N, 1) predictions and (N,) targets.

Source: "Using a target size that is different to the input size ... will likely lead to incorrect results due to broadcasting"
(UserWarning of torch.nn.functional.mse_loss; many questions on Stack Overflow).
expect: {"code": "GT704", "line": true}
"""
import torch
from torch import nn
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler

X, y = load_diabetes(return_X_y=True)
X = torch.tensor(StandardScaler().fit_transform(X), dtype=torch.float32)
y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)

torch.manual_seed(0)
regressor = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 1))
optimizer = torch.optim.Adam(regressor.parameters(), lr=0.01)
for epoch in range(8):
    for i in range(0, len(X) - 64, 64):
        xb, yb = X[i : i + 64], y[i : i + 64]
        prediction = regressor(xb)
        loss = ((prediction - yb) ** 2).mean()  # <- fault
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}  mse {loss.item():.3f}")
