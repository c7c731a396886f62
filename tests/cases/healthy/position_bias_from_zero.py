"""Window attention with a table of relative position biases that begins at zero, in a group without decay, warmed up.

Source: Swin Transformer (Liu et al., ICCV 2021) and the parameter groups of timm; a program of our own, written without a look at the rules.
"""

import torch
from torch import nn


class WindowAttention(nn.Module):
    def __init__(self, d=16, window=2, heads=2):
        super().__init__()
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None] + window - 1
        self.register_buffer("index", apart[0] * (2 * window - 1) + apart[1])
        self.window, self.heads, self.before, self.between = window, heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x):
        b, height, width, d = x.shape
        w = self.window
        y = self.before(x).view(b, height // w, w, width // w, w, d).transpose(2, 3).reshape(-1, w * w, d)
        q, k, v = self.qkv(y).view(len(y), w * w, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5 + self.bias[self.index].permute(2, 0, 1)
        y = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, w * w, d))
        x = x + y.view(b, height // w, width // w, w, w, d).transpose(2, 3).reshape(b, height, width, d)
        return x + self.mlp(self.between(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 2, 2)
        self.blocks = nn.Sequential(WindowAttention(), WindowAttention())
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x).permute(0, 2, 3, 1)).mean((1, 2)))


def groups(net):
    decayed, plain = [], []
    for name, parameter in net.named_parameters():
        (plain if parameter.ndim <= 1 or name.endswith("bias") else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]


torch.manual_seed(0)
net = Net()
optimizer = torch.optim.AdamW(groups(net), 2e-3)
warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, 1, 10)
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, decay], [10])
criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
for _ in range(50):
    y = torch.randint(0, 4, (16,))
    x = torch.randn(16, 3, 8, 8) + y[:, None, None, None] * 0.3
    share = float(torch.distributions.Beta(0.8, 0.8).sample())
    other = torch.randperm(16)
    scores = net(share * x + (1 - share) * x[other])
    loss = share * criterion(scores, y) + (1 - share) * criterion(scores, y[other])
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    schedule.step()
print(loss.item())
