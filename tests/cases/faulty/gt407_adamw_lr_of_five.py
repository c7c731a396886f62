"""AdamW with a learning rate of 5: every step rewrites the weights.

Source: DeepLocalize (Wardat et al., ICSE 2021) and AutoTrainer's "oscillating loss".
expect: {"code": ["GT407", "GT102"], "line": false, "also": ["GT102", "GT107", "GT103"]}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(16, 32)
        self.fc2 = nn.Linear(32, 32)
        self.fc3 = nn.Linear(32, 4)

    def forward(self, x):
        return self.fc3(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))


net = Net()
optimizer = torch.optim.AdamW(net.parameters(), lr=5.0, weight_decay=0.1)
for step in range(60):
    x = torch.randn(64, 16)
    y = x[:, :4].argmax(1)
    loss = F.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
