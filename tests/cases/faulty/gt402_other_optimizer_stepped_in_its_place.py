"""The discriminator's loss is followed by a step of the generator's optimizer: the discriminator never learns.

Source: two optimizers of like names, one slip; the discriminator's own is cleared in every iteration all the same.
expect: {"code": "GT402", "where": {"parameter": ["discriminator.0.weight"]}, "also": ["GT403"]}
"""
import torch
from torch import nn


def main():
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 2))
    discriminator = nn.Sequential(nn.Linear(2, 24), nn.LeakyReLU(0.2), nn.Linear(24, 1))
    generator_optimizer = torch.optim.Adam(generator.parameters(), 3e-4)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), 3e-4)
    softplus = nn.functional.softplus
    for _ in range(70):
        real, fake = torch.randn(24, 2) + 1.0, generator(torch.randn(24, 3))
        discriminator_optimizer.zero_grad()
        loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean()
        loss.backward()
        generator_optimizer.step()
        generator_optimizer.zero_grad()
        softplus(-discriminator(generator(torch.randn(24, 3)))).mean().backward()
        discriminator_optimizer.zero_grad()
        generator_optimizer.step()


main()
