"""All weights start at 0.05: the hidden units stay copies of one another.

Source: Goodfellow et al., "Deep Learning" (2016), section 8.4: initialisation must break symmetry; smdebug "PoorWeightInitialization".
expect: {"code": "GT108", "where": {"parameter": ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]}, "line": false}
"""
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 16)
        self.fc2 = nn.Linear(16, 16)
        self.fc3 = nn.Linear(16, 1)
        for layer in (self.fc1, self.fc2, self.fc3):
            nn.init.constant_(layer.weight, 0.05)
            nn.init.constant_(layer.bias, 0.0)

    def forward(self, x):
        x = torch.tanh(self.fc1(x))
        x = torch.tanh(self.fc2(x))
        return self.fc3(x)


torch.manual_seed(0)
model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(60):
    x = torch.randn(64, 6)
    y = x[:, :1] * x[:, 1:2]
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
