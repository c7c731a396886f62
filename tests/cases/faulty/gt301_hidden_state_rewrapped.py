"""Encoder-decoder whose hidden state is wrapped again with torch.tensor.

Source: "To copy construct from a tensor it is recommended to use sourceTensor.clone().detach()"
(https://stackoverflow.com/questions/55266154).
expect: {"code": "GT301", "where": {"parameter": ["encoder.weight_ih_l0", "encoder.weight_hh_l0", "embedding.weight"]}, "line": true}
"""
import warnings

import torch
import torch.nn as nn

warnings.filterwarnings("ignore")
torch.manual_seed(7)
VOCAB, HIDDEN = 12, 24


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, 16)
        self.encoder = nn.GRU(16, HIDDEN, batch_first=True)
        self.target_embedding = nn.Embedding(VOCAB, 16)
        self.decoder = nn.GRU(16, HIDDEN, batch_first=True)
        self.generator = nn.Linear(HIDDEN, VOCAB)

    def forward(self, src, tgt_in):
        _, hidden = self.encoder(self.embedding(src))
        hidden = torch.tensor(hidden)  # <- fault
        out, _ = self.decoder(self.target_embedding(tgt_in), hidden)
        return self.generator(out)


model = Seq2Seq()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
loss_fn = nn.CrossEntropyLoss()
for step in range(40):
    src = torch.randint(2, VOCAB, (16, 5))
    tgt = src.flip(1)
    tgt_in = torch.cat([torch.ones(16, 1, dtype=torch.long), tgt[:, :-1]], dim=1)
    logits = model(src, tgt_in)
    loss = loss_fn(logits.reshape(-1, VOCAB), tgt.reshape(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"{step:4d} {loss.item():.4f}")
