"""A categorical autoencoder whose Gumbel-softmax temperature falls from 1 to 0.2.

Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax" (2017).
"""
import math

import torch
from torch import nn

torch.manual_seed(0)
mixing = torch.randn(6, 24)
encoder = nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 4 * 6))
decoder = nn.Sequential(nn.Linear(4 * 6, 48), nn.ReLU(), nn.Linear(48, 24))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
for step in range(300):
    temperature = max(0.2, math.exp(-0.01 * step))
    x = torch.randint(0, 2, (48, 6)).float() @ mixing
    logits = encoder(x).view(-1, 4, 6)
    code = nn.functional.gumbel_softmax(logits, tau=temperature, dim=-1).flatten(1)
    posterior = torch.log_softmax(logits, dim=-1)
    divergence = (posterior.exp() * (posterior + math.log(6))).sum((1, 2)).mean()
    loss = nn.functional.mse_loss(decoder(code), x) + 1e-3 * divergence
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
