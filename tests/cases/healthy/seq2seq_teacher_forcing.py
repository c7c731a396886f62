"""Seq2seq with attention, random teacher forcing and argmax feedback, two optimizers.

Source: PyTorch tutorial "NLP From Scratch: Translation with a Sequence to Sequence Network and Attention".
"""
import random

import torch
import torch.nn as nn
import torch.nn.functional as F

random.seed(0)
torch.manual_seed(0)
SOS, VOCAB, H = 0, 12, 32


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, H)
        self.gru = nn.GRU(H, H, batch_first=True)

    def forward(self, x):
        return self.gru(self.embedding(x))


class AttnDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, H)
        self.Wa, self.Ua, self.Va = nn.Linear(H, H), nn.Linear(H, H), nn.Linear(H, 1)
        self.gru = nn.GRU(2 * H, H, batch_first=True)
        self.out = nn.Linear(H, VOCAB)

    def step(self, token, hidden, memory):
        scores = self.Va(torch.tanh(self.Wa(hidden.transpose(0, 1)) + self.Ua(memory))).squeeze(-1)
        context = torch.bmm(F.softmax(scores, -1).unsqueeze(1), memory)
        output, hidden = self.gru(torch.cat([self.embedding(token), context], 2), hidden)
        return self.out(output), hidden

    def forward(self, memory, hidden, target=None):
        token = torch.full((memory.size(0), 1), SOS)
        logits = []
        for t in range(4):
            output, hidden = self.step(token, hidden, memory)
            logits.append(output)
            token = target[:, t : t + 1] if target is not None else output.topk(1)[1].squeeze(-1).detach()
        return torch.cat(logits, 1)


encoder, decoder = Encoder(), AttnDecoder()
encoder_optimizer = torch.optim.Adam(encoder.parameters(), lr=5e-3)
decoder_optimizer = torch.optim.Adam(decoder.parameters(), lr=5e-3)
for step in range(50):
    source = torch.randint(1, VOCAB, (32, 4))
    target = source.flip(1)
    encoder_optimizer.zero_grad()
    decoder_optimizer.zero_grad()
    memory, hidden = encoder(source)
    logits = decoder(memory, hidden, target if random.random() < 0.6 else None)
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    loss.backward()
    encoder_optimizer.step()
    decoder_optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
