"""Linear regression with a learning rate just past the stable limit: the weights flip sign and grow.

Source: "Linear regression with PyTorch: loss keeps increasing" questions; the limit is 2 over the largest curvature.
expect: {"code": ["GT407", "GT102"], "line": false, "also": ["GT102", "GT407"]}
"""
import torch
from sklearn.datasets import load_diabetes

features, target = load_diabetes(return_X_y=True, scaled=False)
X = torch.tensor((features - features.mean(0)) / features.std(0), dtype=torch.float32)
y = torch.tensor((target - target.mean()) / target.std(), dtype=torch.float32).unsqueeze(1)

torch.manual_seed(0)
model = torch.nn.Linear(10, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.32)
for epoch in range(50):
    loss = ((model(X) - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 10 == 0:
        print(f"epoch {epoch} loss {loss.item():.3e}")
