"""Usual clipping at 1.0 in a language model: often active at first, seldom later.

Source: "How to do gradient clipping in pytorch?" (https://stackoverflow.com/questions/54716377).
"""
import torch
import torch.nn as nn


class LM(nn.Module):
    def __init__(self, vocab=20, d=32):
        super().__init__()
        self.embed = nn.Embedding(vocab, d)
        self.rnn = nn.LSTM(d, d, num_layers=2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(d, vocab)

    def forward(self, x):
        return self.head(self.rnn(self.embed(x))[0])


torch.manual_seed(0)
model = LM()
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
norms = []
for step in range(120):
    start = torch.randint(0, 20, (16, 1))
    seq = (start + torch.arange(11) * 3) % 20
    loss = nn.functional.cross_entropy(model(seq[:, :-1]).flatten(0, 1), seq[:, 1:].flatten(), reduction="sum") / 16
    optimizer.zero_grad()
    loss.backward()
    norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
    optimizer.step()
print("clipped", sum(n > 1 for n in norms), "of", len(norms), "loss", loss.item())
