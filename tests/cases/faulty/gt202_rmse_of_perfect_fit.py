"""RMSE loss of a batch that is fitted perfectly.

Source: "RMSE loss function" (https://discuss.pytorch.org/t/rmse-loss-function/16540): add an eps inside the root.
expect: {"code": ["GT202", "GT201"], "where": {"op": ["SqrtBackward0"]}, "line": true}
"""
import torch
from torch import nn


class RMSELoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.mse = nn.MSELoss()

    def forward(self, yhat, y):
        return torch.sqrt(self.mse(yhat, y))  # <- fault


torch.manual_seed(0)
model = nn.Linear(3, 1, bias=False)
criterion = RMSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for i in range(30):
    x = torch.randn(8, 3)
    y = x.sum(1, keepdim=True)
    if i == 12:
        x = torch.zeros(8, 3)
        y = torch.zeros(8, 1)
    loss = criterion(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"{i:02d} rmse {loss.item():.4f} w {model.weight.data.tolist()}")
