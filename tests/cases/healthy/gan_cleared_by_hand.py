"""A WGAN in the old style: gradients zeroed through `.data` before each turn, weights clipped, features kept in buffers.

Source: WGAN (Arjovsky et al., ICML 2017) with `reset_grad` written by hand, as in
https://github.com/wiseodd/generative-models; a program of our own, written without a look at the rules.
"""
import torch
from torch import nn

torch.manual_seed(0)
generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
critic = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
for_generator = torch.optim.RMSprop(generator.parameters(), 5e-4)
for_critic = torch.optim.RMSprop(critic.parameters(), 5e-4)


class Centred(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("bank", torch.zeros(64, 2))
        self.place = 0

    def forward(self, x):
        self.mean.data.mul_(0.9).add_(0.1 * x.mean(0).data)
        self.bank.data[self.place : self.place + 16] = x.data[:16]
        self.place = (self.place + 16) % 64
        return x - self.mean


def reset(net):
    for parameter in net.parameters():
        if parameter.grad is not None:
            parameter.grad.data.zero_()


centred = Centred()
for _ in range(40):
    for _ in range(2):
        for parameter in critic.parameters():
            parameter.data.clamp_(-0.1, 0.1)
        reset(critic)
        real, fake = torch.randn(32, 2) + 1, generator(torch.randn(32, 4)).detach()
        loss = critic(centred(fake)).mean() - critic(centred(real)).mean()
        loss.backward()
        for_critic.step()
    reset(generator)
    loss = -critic(centred(generator(torch.randn(32, 4)))).mean()
    loss.backward()
    for_generator.step()
print(loss.item())
