"""A picture sets the first state of a plain RNN; only the last step is judged, so the encoder learns nothing.

Source: "Show and Tell" captioning code with nn.RNN in place of nn.LSTM.
expect: {"code": "GT101", "where": {"parameter": ["encoder.0.weight", "init_h.weight"]}}
"""
import torch
from torch import nn


class Captioner(nn.Module):
    """A picture starts the state of an RNN; the answer is read off at the end."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.init_h = nn.Linear(8 * 7 * 7, 32)
        self.rnn = nn.RNN(10, 32, batch_first=True)
        self.answer = nn.Linear(32, 5)

    def forward(self, img, words):
        h0 = torch.tanh(self.init_h(self.encoder(img))).unsqueeze(0)
        out, _ = self.rnn(words, h0)
        return self.answer(out[:, -1])


torch.manual_seed(4)
net = Captioner()
opt = torch.optim.RMSprop(net.parameters(), lr=1e-3)
lf = nn.CrossEntropyLoss()
for i in range(40):
    y = torch.randint(0, 5, (20,))
    img = torch.randn(20, 3, 16, 16) * 0.2 + y.float().view(-1, 1, 1, 1)
    words = torch.randn(20, 45, 10)
    opt.zero_grad()
    loss = lf(net(img, words), y)
    loss.backward()
    opt.step()
