"""F.softmax in the model and F.log_softmax with nll_loss in the loop.

Source: "Does NLLLoss handle Log-Softmax and Softmax in the same way?"
(https://discuss.pytorch.org/t/does-nllloss-handle-log-softmax-and-softmax-in-the-same-way/8146).
expect: {"code": "GT701", "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class GCN(nn.Module):
    """Two rounds of neighbourhood averaging on a fixed graph."""

    def __init__(self, n_in, n_hidden, n_classes):
        super().__init__()
        self.w1 = nn.Linear(n_in, n_hidden)
        self.w2 = nn.Linear(n_hidden, n_classes)

    def forward(self, x, a):
        x = F.relu(a @ self.w1(x))
        x = a @ self.w2(x)
        return F.softmax(x, dim=-1)  # <- fault


torch.manual_seed(0)
n = 60
labels = torch.arange(n) % 3
same = (labels[:, None] == labels[None]).float()
adjacency = (torch.rand(n, n) < 0.05 + 0.2 * same).float() + torch.eye(n)
adjacency = adjacency / adjacency.sum(1, keepdim=True)
x = torch.randn(n, 16)
model = GCN(16, 32, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
for epoch in range(60):
    optimizer.zero_grad()
    out = F.log_softmax(model(x, adjacency), dim=1)  # <- fault
    loss = F.nll_loss(out[:40], labels[:40])
    loss.backward()
    optimizer.step()
print("train loss", loss.item())
