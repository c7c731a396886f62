"""Unscaled features and lr=0.01: the gradient grows from step to step until everything is NaN.

Source: "Linear regression in PyTorch: loss becomes inf and then nan" (Stack Overflow, many duplicates); DeepLocalize.
expect: {"code": ["GT102", "GT407"], "line": false, "also": ["GT203", "GT202", "GT201", "GT407", "GT102"]}
"""
import numpy as np
import torch
import torch.nn as nn

rng = np.random.default_rng(0)
area = rng.uniform(50, 250, size=(64, 1)).astype(np.float32)
price = 3 * area + 20 + rng.normal(scale=5, size=area.shape).astype(np.float32)

torch.manual_seed(0)
x, y = torch.from_numpy(area), torch.from_numpy(price)
model = nn.Linear(1, 1)
criterion = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for epoch in range(40):
    outputs = model(x)
    loss = criterion(outputs, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 5 == 0:
        print(f"Epoch [{epoch}/40], Loss: {loss.item():.4f}")
