"""Language model with truncated BPTT: the hidden state is detached between segments.

Source: PyTorch examples "word_language_model", repackage_hidden.
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
text = ("the quick brown fox jumps over the lazy dog. " * 60)
vocab = sorted(set(text))
ids = torch.tensor([vocab.index(c) for c in text])


class CharLM(nn.Module):
    def __init__(self, n, hidden=48):
        super().__init__()
        self.embed = nn.Embedding(n, 16)
        self.lstm = nn.LSTM(16, hidden)
        self.decode = nn.Linear(hidden, n)

    def forward(self, x, state):
        out, state = self.lstm(self.embed(x), state)
        return self.decode(out), state


def repackage_hidden(h):
    if isinstance(h, torch.Tensor):
        return h.detach()
    return tuple(repackage_hidden(v) for v in h)


batch, bptt = 8, 20
n = len(ids) // batch
data = ids[: n * batch].view(batch, n).t()
model = CharLM(len(vocab))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(4):
    hidden = (torch.zeros(1, batch, 48), torch.zeros(1, batch, 48))
    for i in range(0, n - 1 - bptt, bptt):
        hidden = repackage_hidden(hidden)
        output, hidden = model(data[i : i + bptt], hidden)
        loss = nn.functional.cross_entropy(output.flatten(0, 1), data[i + 1 : i + 1 + bptt].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(f"epoch {epoch} loss {loss.item():.3f}")
