"""nn.Softmax at the end of a Sequential segmentation net, F.cross_entropy on top.

Source: UMLAUT (Schoop et al., CHI 2021); https://stackoverflow.com/questions/55675345.
expect: {"code": "GT701", "line": true}
"""
import torch
from torch import nn
from torch.nn.functional import cross_entropy

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 3, 1),
    nn.Softmax(dim=1),
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)


def batch():
    image = torch.randn(8, 1, 12, 12)
    mask = (image[:, 0] > 0.5).long() + (image[:, 0] > -0.5).long()
    return image, mask


for i in range(40):
    image, mask = batch()
    optimizer.zero_grad()
    out = net(image)  # <- fault
    loss = cross_entropy(out, mask)  # <- fault
    loss.backward()
    optimizer.step()
    if i % 10 == 0:
        print("iteration", i, "loss", loss.item())
