"""Training loop without zero_grad.

Source: "Why do we need to call zero_grad() in PyTorch?" (https://stackoverflow.com/questions/48001598).
expect: {"code": "GT401", "line": false}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
x = torch.linspace(-2, 2, 128).unsqueeze(1)
y = torch.sin(2 * x)

model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
loss_fn = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

for epoch in range(60):
    pred = model(x)
    loss = loss_fn(pred, y)
    loss.backward()
    optimizer.step()
    if epoch % 10 == 0:
        print(f"Epoch {epoch}: {loss.item():.4f}")
