"""A likelihood with a predicted variance: the mean is squeezed to (N,), the variance is left (N, 1).

Source: Kendall and Gal, "What Uncertainties Do We Need in Bayesian Deep Learning" (2017), equation 8, with mixed shapes.
expect: {"code": "GT704", "line": true}
"""
import torch
from torch import nn


class Heteroscedastic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.mean, self.log_variance = nn.Linear(5, 32), nn.Linear(32, 1), nn.Linear(32, 1)

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        return self.mean(hidden).squeeze(-1), self.log_variance(hidden)


torch.manual_seed(0)
model = Heteroscedastic()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(30):
    x = torch.randn(50, 5)
    y = x[:, 0] + 0.1 * torch.randn(50)
    mean, log_variance = model(x)
    loss = 0.5 * (log_variance + (y - mean) ** 2 / log_variance.exp()).mean()  # <- fault
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
