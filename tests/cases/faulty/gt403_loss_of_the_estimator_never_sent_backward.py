"""An estimator's own loss is computed and stepped on without backward().

The encoder's loss brings the estimator gradients, which are rightly cleared.

Source: Belghazi et al., "MINE: Mutual Information Neural Estimation" (2018), with one of the two backward() calls lost.
expect: {"code": "GT403", "where": {"optimizer": ["estimator_optimizer"]}, "line": true}
"""
import torch
from torch import nn

torch.manual_seed(73)
encoder = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 4))
classifier = nn.Linear(4, 2)
estimator = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam([*encoder.parameters(), *classifier.parameters()], lr=2e-3)
estimator_optimizer = torch.optim.Adam(estimator.parameters(), lr=2e-3)

for _ in range(60):
    x = torch.randn(48, 6)
    label, secret = (x[:, 0] + x[:, 1] > 0).long(), x[:, 2:3]

    guess = nn.functional.mse_loss(estimator(encoder(x).detach()), secret)
    estimator_optimizer.zero_grad()
    estimator_optimizer.step()  # <- fault

    code = encoder(x)
    leak = nn.functional.mse_loss(estimator(code), secret)
    loss = nn.functional.cross_entropy(classifier(code), label) - 0.1 * leak
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
