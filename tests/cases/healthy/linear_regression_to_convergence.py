"""Linear regression that converges to a loss of 1e-12: all gradients become tiny together.

Source: plain convergence; no fault.
"""
import torch

torch.manual_seed(0)
x = torch.randn(256, 3, dtype=torch.float64)
y = x @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 3.0

model = torch.nn.Linear(3, 1).double()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(200):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    if epoch % 40 == 0:
        print(f"epoch {epoch:3d}  loss {loss.item():.3e}")
print("weights", model.weight.data.numpy().round(4), "loss", loss.item())
