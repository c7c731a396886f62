"""Gradient penalty whose norm is written as pow, sum, sqrt and vanishes.

Source: "NaN in WGAN-GP gradient penalty" (https://discuss.pytorch.org/t/gradient-penalty-with-respect-to-the-network-parameters/11944 and others).
expect: {"code": ["GT202", "GT201"], "where": {"op": ["SqrtBackward0", "PowBackward0"]}, "line": true}
"""
import torch
from torch import autograd, nn

torch.manual_seed(0)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, x):
        return self.layers(x)


def gradient_penalty(critic, points):
    points = points.clone().requires_grad_(True)
    scores = critic(points)
    (grads,) = autograd.grad(scores.sum(), points, create_graph=True)
    norm = torch.sqrt((grads**2).sum(1))  # <- fault
    return ((norm - 1) ** 2).mean()


critic = Critic()
optimizer = torch.optim.Adam(critic.parameters(), lr=5e-3)
for iteration in range(40):
    real = torch.randn(16, 2)
    fake = torch.randn(16, 2) * 2 + 1
    if iteration == 20:
        with torch.no_grad():
            critic.layers[0].bias -= 20
            critic.layers[2].bias -= 20
    loss = critic(fake).mean() - critic(real).mean() + 10 * gradient_penalty(critic, 0.5 * (real + fake))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if iteration % 5 == 0:
        print(iteration, loss.item())
