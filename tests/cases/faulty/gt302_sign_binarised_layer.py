"""Binary hidden units made with torch.sign.

Source: Courbariaux et al., "BinaryConnect" / "Binarized Neural Networks" (2016), forgetting the straight-through estimator.
expect: {"code": "GT302", "where": {"parameter": ["hidden.weight", "hidden.bias"]}, "line": true}
"""
import torch
from torch import nn, optim

torch.manual_seed(1)


class BinaryNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 40)
        self.norm = nn.BatchNorm1d(40, affine=False)
        self.classify = nn.Linear(40, 2)

    def forward(self, x):
        h = torch.sign(self.norm(self.hidden(x)))  # <- fault
        return self.classify(h)


X = torch.randn(400, 8)
Y = ((X**2).sum(1) > 8).long()
model = BinaryNet()
optimizer = optim.Adam(model.parameters(), lr=1e-2)
loss_function = nn.CrossEntropyLoss()
for epoch in range(6):
    for i in range(0, 400, 50):
        optimizer.zero_grad()
        loss = loss_function(model(X[i : i + 50]), Y[i : i + 50])
        loss.backward()
        optimizer.step()
    print("Epoch", epoch, loss.item())
