"""Class prototypes updated as a running mean of embeddings, with their whole history attached.

Source: memory-bank and centre-loss re-implementations; PyTorch FAQ, "Don't accumulate history across your training loop".
expect: {"code": "GT408", "line": true}
"""
import torch
import torch.nn as nn


class PrototypeMemory:
    def __init__(self, n_classes, dim):
        self.bank = torch.zeros(n_classes, dim)

    def update(self, embeddings, labels):
        onehot = nn.functional.one_hot(labels, len(self.bank)).float()
        fresh = onehot.T @ embeddings / onehot.sum(0).clamp(min=1).unsqueeze(1)
        self.bank = 0.9 * self.bank + 0.1 * fresh  # <- fault
        return self.bank


torch.manual_seed(0)
embed = nn.Linear(10, 4)
memory = PrototypeMemory(3, 4)
opt = torch.optim.SGD(embed.parameters(), lr=0.05)
for step in range(45):
    y = torch.randint(0, 3, (24,))
    x = torch.randn(24, 10) + nn.functional.one_hot(y, 10) * 3
    z = embed(x)
    prototypes = memory.update(z, y)
    distance = (z[:, None] - prototypes[None]).pow(2).sum(-1)
    loss = nn.functional.cross_entropy(-distance, y)
    opt.zero_grad()
    loss.backward(retain_graph=True)  # <- fault
    opt.step()
    if step % 15 == 0:
        print(step, loss.item())
