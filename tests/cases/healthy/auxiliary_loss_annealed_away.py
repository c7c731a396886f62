"""An auxiliary head whose weight decays a thousandfold and more: its own layers get next to nothing, as is meant.

Source: Szegedy et al., "Going Deeper with Convolutions" (2015), auxiliary classifiers; here with an exponential schedule.
"""
import torch
from torch import nn

torch.manual_seed(0)
body = nn.Sequential(nn.Linear(16, 32), nn.ReLU())
main = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
auxiliary = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.SGD([*body.parameters(), *main.parameters(), *auxiliary.parameters()], lr=0.05, momentum=0.9)
for step in range(300):
    x = torch.randn(32, 16)
    label = x[:, :4].argmax(1)
    hidden = body(x)
    weight = 0.95**step
    loss = nn.functional.cross_entropy(main(hidden), label)
    loss = loss + weight * nn.functional.cross_entropy(auxiliary(hidden), label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
