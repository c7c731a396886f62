"""A second branch of a two-tower model is filled through `.data`, as all layers are, and forward() forgets it.

Source: "Find unused parameters", torch.nn.parallel.DistributedDataParallel documentation; PyTorch forum questions on
parameters whose gradient is None.
expect: {"code": "GT301", "where": {"module": ["text", "text.0", "text.2"], "op": [null]}}
"""
import torch
from torch import nn


def tower(inputs):
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 8))


class Match(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = tower(6), tower(4)
        self.score = nn.Linear(8, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.weight.data.uniform_(-0.3, 0.3)
                module.bias.data.fill_(0.0)

    def forward(self, image, text):
        return self.score(self.image(image)).squeeze(-1)


torch.manual_seed(0)
model = Match()
opt = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(60):
    image, text = torch.randn(32, 6), torch.randn(32, 4)
    label = (image[:, 0] + text[:, 0] > 0).float()
    loss = nn.functional.binary_cross_entropy_with_logits(model(image, text), label)
    opt.zero_grad()
    loss.backward()
    opt.step()
print(loss.item())
