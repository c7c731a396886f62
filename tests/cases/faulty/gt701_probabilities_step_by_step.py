"""A decoder that gives probabilities at each step, stacked and given to cross-entropy.

Source: "Should I use softmax with CrossEntropyLoss?" (PyTorch forums), in a sequence model.
expect: {"code": "GT701", "line": true}
"""
import torch
import torch.nn as nn


class Seq2Seq(nn.Module):
    def __init__(self, v=15, d=24):
        super().__init__()
        self.emb = nn.Embedding(v, d)
        self.enc = nn.GRU(d, d, batch_first=True)
        self.dec = nn.GRUCell(d, d)
        self.out = nn.Linear(d, v)

    def forward(self, src, tgt):
        _, h = self.enc(self.emb(src))
        h = h[0]
        steps = []
        for t in range(tgt.size(1) - 1):
            h = self.dec(self.emb(tgt[:, t]), h)
            steps.append(torch.softmax(self.out(h), dim=1))  # <- fault
        return torch.stack(steps, dim=1)


torch.manual_seed(0)
net = Seq2Seq()
opt = torch.optim.Adam(net.parameters(), lr=1e-3)
lf = nn.CrossEntropyLoss(ignore_index=0)
for _ in range(15):
    src = torch.randint(1, 15, (12, 6))
    tgt = torch.cat([torch.ones(12, 1, dtype=torch.long), src.flip(1)], 1)
    p = net(src, tgt)
    loss = lf(p.reshape(-1, 15), tgt[:, 1:].reshape(-1))  # <- fault
    opt.zero_grad()
    loss.backward()
    opt.step()
