"""Character RNN whose hidden state is carried over without detach; weights are updated through .data.

Source: "Trying to backward through the graph a second time" (https://stackoverflow.com/questions/48274929), silenced with retain_graph=True;
update rule of the PyTorch char-RNN tutorial.
expect: {"code": "GT408", "line": true}
"""
import torch
import torch.nn as nn


class RNN(nn.Module):
    def __init__(self, n_in, n_hidden, n_out):
        super().__init__()
        self.i2h = nn.Linear(n_in + n_hidden, n_hidden)
        self.h2o = nn.Linear(n_hidden, n_out)

    def forward(self, x, hidden):
        hidden = torch.tanh(self.i2h(torch.cat((x, hidden), 1)))  # <- fault
        return self.h2o(hidden), hidden


torch.manual_seed(0)
text = "hello world, hello torch. " * 4
letters = sorted(set(text))
codes = torch.tensor([letters.index(c) for c in text])
one_hot = nn.functional.one_hot(codes, len(letters)).float()
rnn = RNN(len(letters), 32, len(letters))
criterion = nn.CrossEntropyLoss()
learning_rate = 0.02
hidden = torch.zeros(1, 32)
for step in range(40):
    loss = 0
    for t in range(2):
        position = (2 * step + t) % (len(codes) - 1)
        output, hidden = rnn(one_hot[position : position + 1], hidden)  # <- fault
        loss = loss + criterion(output, codes[position + 1 : position + 2])
    rnn.zero_grad()
    loss.backward(retain_graph=True)  # <- fault
    for p in rnn.parameters():
        p.data.add_(p.grad, alpha=-learning_rate)
    if step % 10 == 0:
        print(step, loss.item())
