"""zero_grad between backward and step: nothing is ever learned.

Source: "PyTorch: loss does not decrease, weights do not update" duplicates of https://stackoverflow.com/questions/53975717.
expect: {"code": "GT404", "line": true, "also": ["GT403"]}
"""
import torch
from torch import nn


def build():
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())


def xor_data():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    return x, y


def fit(epochs=60):
    torch.manual_seed(0)
    model = build()
    x, y = xor_data()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    loss_func = nn.BCELoss()
    for epoch in range(epochs):
        y_hat = model(x)
        loss = loss_func(y_hat, y)
        loss.backward()
        optimizer.zero_grad()  # <- fault
        optimizer.step()
        if epoch % 20 == 0:
            print("epoch: {} loss: {:.4f}".format(epoch, loss.item()))
    return model


fit()
