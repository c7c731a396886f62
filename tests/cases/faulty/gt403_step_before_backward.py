"""optimizer.step() stands before loss.backward().

Source: "PyTorch optimizer.step() function doesn't update weights" and
https://stackoverflow.com/questions/53975717 (connection between loss.backward() and optimizer.step()).
expect: {"code": "GT403", "line": true, "also": ["GT404"]}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.l1 = nn.Linear(4, 16)
        self.l2 = nn.Linear(16, 3)

    def forward(self, x):
        return self.l2(F.relu(self.l1(x)))


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
X = torch.randn(120, 4)
Y = X[:, :3].argmax(1)
for epoch in range(40):
    optimizer.zero_grad()
    output = net(X)
    loss = F.cross_entropy(output, Y)
    optimizer.step()  # <- fault
    loss.backward()
    if epoch % 10 == 0:
        print(epoch, loss.item())
