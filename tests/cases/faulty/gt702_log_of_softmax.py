"""Negative log-likelihood through torch.log(softmax(x)).

Source: torch.nn.functional.log_softmax documentation ("doing these two operations separately is slower and numerically unstable").
expect: {"code": "GT702", "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Bigram(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.table = nn.Embedding(vocab, vocab)

    def forward(self, idx):
        return F.softmax(self.table(idx), dim=-1)


torch.manual_seed(0)
model = Bigram(20)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-2)
for step in range(50):
    idx = torch.randint(0, 20, (64,))
    nxt = (idx * 3 + 1) % 20
    probability = model(idx)
    loss = F.nll_loss(torch.log(probability), nxt)  # <- fault
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item())
