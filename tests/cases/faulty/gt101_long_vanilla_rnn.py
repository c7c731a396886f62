"""A tanh RNN cell over 100 steps must remember the first token.

Source: Bengio et al., "Learning long-term dependencies with gradient descent is difficult" (1994).
expect: {"code": "GT101", "where": [{"module": ["cell"]}, {"parameter": ["cell.weight_ih", "cell.weight_hh", "cell.bias_ih", "cell.bias_hh", "embed.weight"]}], "line": false}
"""
import torch
import torch.nn as nn


class LongMemory(nn.Module):
    def __init__(self, vocab=4, hidden=24):
        super().__init__()
        self.embed = nn.Embedding(vocab, 8)
        self.cell = nn.RNNCell(8, hidden)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, tokens):
        x = self.embed(tokens)
        h = torch.zeros(tokens.size(0), self.cell.hidden_size)
        for t in range(tokens.size(1)):
            h = self.cell(x[:, t], h)
        return self.out(h)


torch.manual_seed(0)
model = LongMemory()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(25):
    tokens = torch.randint(0, 4, (16, 100))
    loss = nn.functional.cross_entropy(model(tokens), tokens[:, 0])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 5 == 0:
        print(step, loss.item())
