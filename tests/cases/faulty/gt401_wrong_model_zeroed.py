"""Encoder and decoder with an optimizer each; only the decoder's gradients are cleared.

Source: PyTorch "NLP From Scratch: Translation with a Sequence to Sequence Network" loops, with one zero_grad lost.
expect: {"code": "GT401", "line": false}
"""
import torch
import torch.nn as nn


class EncoderRNN(nn.Module):
    def __init__(self, vocab, hidden):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)

    def forward(self, x):
        return self.gru(self.embedding(x))[1]


class DecoderRNN(nn.Module):
    def __init__(self, vocab, hidden):
        super().__init__()
        self.embedding = nn.Embedding(vocab, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, y, hidden):
        output, _ = self.gru(self.embedding(y), hidden)
        return self.out(output)


torch.manual_seed(0)
encoder, decoder = EncoderRNN(10, 24), DecoderRNN(10, 24)
encoder_optimizer = torch.optim.SGD(encoder.parameters(), lr=0.05)
decoder_optimizer = torch.optim.SGD(decoder.parameters(), lr=0.05)
for step in range(40):
    decoder_optimizer.zero_grad()
    x = torch.randint(1, 10, (32, 4))
    y = x.flip(1)
    shifted = torch.cat([torch.zeros(32, 1, dtype=torch.long), y[:, :-1]], 1)
    loss = nn.functional.cross_entropy(decoder(shifted, encoder(x)).flatten(0, 1), y.flatten())
    loss.backward()
    encoder_optimizer.step()
    decoder_optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
