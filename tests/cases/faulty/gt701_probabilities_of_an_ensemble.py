"""The probabilities of three members are averaged and given to cross-entropy.

Source: "Should I use softmax with CrossEntropyLoss?" (PyTorch forums), with an ensemble trained end to end.
expect: {"code": "GT701", "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Member(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(12, 24)
        self.out = nn.Linear(24, 4)

    def forward(self, x):
        return torch.softmax(self.out(torch.relu(self.hidden(x))), dim=-1)  # <- fault


class Ensemble(nn.Module):
    def __init__(self):
        super().__init__()
        self.members = nn.ModuleList(Member() for _ in range(3))

    def forward(self, x):
        return torch.stack([member(x) for member in self.members]).mean(0)


torch.manual_seed(0)
model = Ensemble()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
teacher = torch.randn(12, 4)
for step in range(25):
    x = torch.randn(32, 12)
    loss = F.cross_entropy(model(x), (x @ teacher).argmax(1))  # <- fault
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
