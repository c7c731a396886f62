"""Tabular data with a missing value that became NaN.

Source: "nan loss when training keras regression network" (https://stackoverflow.com/questions/37232782): check the inputs first.
expect: {"code": "GT204", "line": false}
"""
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

rng = np.random.default_rng(0)
table = rng.normal(size=(256, 7)).astype(np.float32)
price = (table @ rng.normal(size=7)).astype(np.float32)
table[77, 3] = np.nan  # <- fault

torch.manual_seed(0)
loader = DataLoader(TensorDataset(torch.from_numpy(table), torch.from_numpy(price)), batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(3):
    for features, target in loader:
        prediction = model(features).squeeze(1)
        loss = nn.functional.mse_loss(prediction, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: {loss.item()}")
