"""Linear regression whose weights start at a thousandth and grow to some tens.

The targets keep their own scale, and the loss falls to what noise leaves of it. Tempts: GT407.

Source: the diabetes data set of scikit-learn, targets from 25 to 346.
"""
import torch
from sklearn.datasets import load_diabetes
from torch import nn

torch.manual_seed(84)
data = load_diabetes()
inputs = torch.tensor(data.data, dtype=torch.float32)
inputs = inputs / inputs.std(0)
targets = torch.tensor(data.target - data.target.mean(), dtype=torch.float32)
model = nn.Linear(10, 1)
nn.init.normal_(model.weight, std=1e-3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for epoch in range(30):
    for rows in torch.randperm(len(inputs)).split(74):
        loss = nn.functional.mse_loss(model(inputs[rows]).squeeze(1), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if epoch % 10 == 0:
        print(epoch, loss.item())
print("loss", loss.item())
