"""A recurrent cell writes its new state into the tensor that the last step still needs.

Source: "RuntimeError ... modified by an inplace operation" in hand-written RNNs (https://discuss.pytorch.org/t/encounter-the-runtimeerror-one-of-the-variables-needed-for-gradient-computation-has-been-modified-by-an-inplace-operation/836).
expect: {"code": "GT304", "line": true}
"""
import torch
from torch import nn


class LeakyRNN(nn.Module):
    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.inp = nn.Linear(n_in, n_hidden)
        self.rec = nn.Linear(n_hidden, n_hidden)
        self.out = nn.Linear(n_hidden, 1)

    def forward(self, seq):
        h = torch.zeros(seq.size(1), self.rec.in_features)
        for x in seq:
            update = torch.tanh(self.inp(x) + self.rec(h))  # <- fault
            h[:] = 0.9 * h + 0.1 * update  # <- fault
        return self.out(h)


torch.manual_seed(0)
rnn = LeakyRNN(3, 12)
optim = torch.optim.Adam(rnn.parameters(), lr=1e-2)
for _ in range(10):
    seq = torch.randn(7, 16, 3)
    loss = nn.functional.mse_loss(rnn(seq), seq.mean(0)[:, :1])
    optim.zero_grad()
    loss.backward()
    optim.step()
