"""Log-sum-exp written out: log(sum(exp(x))) overflows.

Source: "The log-sum-exp trick", CRF implementations of the PyTorch tutorial "Advanced: Making Dynamic Decisions and the Bi-LSTM CRF".
expect: {"code": "GT203", "where": {"op": ["ExpBackward0"]}, "line": true}
"""
import torch
import torch.nn as nn


class LinearChainCRF(nn.Module):
    def __init__(self, n_tags):
        super().__init__()
        self.transitions = nn.Parameter(torch.randn(n_tags, n_tags))

    def log_partition(self, emissions):
        alpha = emissions[0]
        for emission in emissions[1:]:
            scores = alpha[:, None] + self.transitions + emission[None, :]
            alpha = torch.log(torch.exp(scores).sum(0))  # <- fault
        return torch.log(torch.exp(alpha).sum())  # <- fault

    def score(self, emissions, tags):
        s = emissions[0, tags[0]]
        for t in range(1, len(tags)):
            s = s + self.transitions[tags[t - 1], tags[t]] + emissions[t, tags[t]]
        return s

    def forward(self, emissions, tags):
        return self.log_partition(emissions) - self.score(emissions, tags)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.emit = nn.Linear(16, 4)
        self.crf = LinearChainCRF(4)

    def forward(self, words, tags):
        hidden, _ = self.lstm(words.unsqueeze(0))
        return self.crf(self.emit(hidden).squeeze(0) * 3, tags)


torch.manual_seed(0)
model = Tagger()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(12):
    length = 10 if step < 7 else 120
    words = torch.randn(length, 8)
    tags = (words[:, 0] > 0).long() + 2 * (words[:, 1] > 0).long()
    loss = model(words, tags)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(step, "nll", loss.item())
