"""Latent states go to a replay buffer with their graphs: what a batch draws reaches back to the first steps.

Source: replay buffers that hold tensors with their history; states are to be stored detached (DreamerV2's and R2D2's
stored recurrent states are constants).
expect: {"code": "GT408", "line": true}
"""

import random

import torch
from torch import nn


def main():
    torch.manual_seed(0)
    random.seed(0)
    encoder, value = nn.RNNCell(3, 10), nn.Linear(10, 1)
    state, memory = torch.zeros(1, 10), []
    for _ in range(60):
        state = encoder(torch.randn(1, 3), state)
        memory.append((state, float(torch.randn(()))))
        drawn = random.sample(memory, min(6, len(memory)))
        states = torch.cat([latent for latent, _ in drawn])  # <- fault
        targets = torch.tensor([[reward] for _, reward in drawn])
        loss = nn.functional.mse_loss(value(states), targets)
        for parameter in value.parameters():
            parameter.grad = None
        loss.backward(retain_graph=True)
        for parameter in value.parameters():
            parameter.data -= 0.01 * parameter.grad


main()
