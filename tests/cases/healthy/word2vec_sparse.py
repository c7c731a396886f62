"""Skip-gram with negative sampling, sparse embeddings and SparseAdam; most rows are rare.

Source: Mikolov et al. (2013); torch.optim.SparseAdam documentation.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class SkipGram(nn.Module):
    def __init__(self, vocab, dim):
        super().__init__()
        self.centre = nn.Embedding(vocab, dim, sparse=True)
        self.context = nn.Embedding(vocab, dim, sparse=True)
        nn.init.uniform_(self.centre.weight, -0.5 / dim, 0.5 / dim)
        nn.init.zeros_(self.context.weight)

    def forward(self, centre, context, negatives):
        v = self.centre(centre)
        positive = (v * self.context(context)).sum(1)
        negative = torch.bmm(self.context(negatives), v.unsqueeze(2)).squeeze(2)
        return -(F.logsigmoid(positive) + F.logsigmoid(-negative).sum(1)).mean()


torch.manual_seed(0)
frequencies = 1 / torch.arange(1, 501.0)
corpus = torch.multinomial(frequencies, 3000, replacement=True)
model = SkipGram(500, 16)
optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=0.01)
for step in range(60):
    i = torch.randint(1, 2999, (64,))
    loss = model(corpus[i], corpus[i + 1], torch.multinomial(frequencies**0.75, 64 * 4, replacement=True).view(64, 4))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 20 == 0:
        print(step, loss.item())
