"""One batch comes as raw pixels; the step on it leaves the model worse than before.

Source: Chowdhery et al., PaLM, 2022, section 5.1 (loss spikes that the run does not recover from by itself).
expect: {"code": "GT103", "where": {"parameter": ["head.weight", "encoder.0.weight"]}, "line": false, "backward": 91}
"""
import torch
from torch import nn


class Loop:
    def __init__(self):
        torch.manual_seed(11)
        self.encoder = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Linear(6 * 9, 4)
        params = list(self.encoder.parameters()) + list(self.head.parameters())
        self.optim = torch.optim.SGD(params, lr=0.01, momentum=0.9)

    def batch(self, k):
        img = torch.rand(24, 1, 8, 8)
        if k == 90:
            img = img * 255.0 * 8
        return img, (img.mean((1, 2, 3)) * 40).long() % 4

    def run(self, n):
        for k in range(n):
            x, y = self.batch(k)
            loss = nn.functional.cross_entropy(self.head(self.encoder(x)), y)
            self.optim.zero_grad(set_to_none=True)
            loss.backward()
            self.optim.step()
        return loss.item()


print(Loop().run(130))
