"""LoRA: frozen base weights, zero-initialised B.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021).
"""
import math

import torch
from torch import nn


class LoRALinear(nn.Module):
    def __init__(self, base: nn.Linear, r: int = 4, alpha: float = 8.0):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / r

    def forward(self, x):
        return self.base(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.up = LoRALinear(nn.Linear(d, 4 * d))
        self.down = LoRALinear(nn.Linear(4 * d, d))

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(x)))


torch.manual_seed(0)
model = nn.Sequential(Block(16), Block(16), LoRALinear(nn.Linear(16, 4)))
trainable = [p for p in model.parameters() if p.requires_grad]
print(sum(p.numel() for p in trainable), "trainable parameters")
optimizer = torch.optim.AdamW(trainable, lr=1e-2)
w = torch.randn(16, 4)
for step in range(50):
    x = torch.randn(64, 16)
    y = (x @ w).argmax(-1)
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
