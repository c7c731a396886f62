"""Softmax over the last of three axes, flattened to two before cross-entropy.

Source: torch.nn.CrossEntropyLoss, which takes unnormalised logits
(https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html).
expect: {"code": "GT701", "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class CharLM(nn.Module):
    def __init__(self, v):
        super().__init__()
        self.emb = nn.Embedding(v, 16)
        self.rnn = nn.GRU(16, 32, batch_first=True)
        self.out = nn.Linear(32, v)

    def forward(self, x):
        h, _ = self.rnn(self.emb(x))
        return F.softmax(self.out(h), dim=-1)  # <- fault


def main():
    torch.manual_seed(0)
    lm = CharLM(12)
    opt = torch.optim.Adam(lm.parameters(), lr=3e-3)
    for _ in range(40):
        start = torch.randint(0, 12, (8, 1))
        seq = (start + torch.arange(11)) % 12
        probs = lm(seq[:, :-1])
        loss = F.cross_entropy(probs.view(-1, 12), seq[:, 1:].reshape(-1))
        opt.zero_grad()
        loss.backward()
        opt.step()


main()
