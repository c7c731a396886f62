"""One huge step kills a ReLU layer; afterwards the learning rate is fine.

Source: AutoTrainer (Zhang et al., ICSE 2021), "dying ReLU"; CS231n notes on ReLU.
expect: {"code": "GT107", "where": {"module": ["hidden", "relu", "body.0", "body.1"]}, "line": false, "also": ["GT302", "GT103", "GT407"]}
"""
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

torch.manual_seed(0)


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(6, 48)
        self.relu = nn.ReLU()
        self.out = nn.Linear(48, 1)

    def forward(self, x):
        return self.out(self.relu(self.hidden(x)))


model = Regressor()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
scheduler = LambdaLR(optimizer, lambda step: 800.0 if step == 2 else 1.0)
losses = []
for step in range(80):
    x = torch.rand(32, 6)
    y = -x.sum(1, keepdim=True)
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    losses.append(loss.item())
print(losses[0], losses[3], losses[-1])
