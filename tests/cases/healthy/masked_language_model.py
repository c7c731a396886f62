"""BERT-style masked LM with tied decoder weights: only masked positions give a loss.

Source: Devlin et al., "BERT" (2019).
"""
import torch
from torch import nn

torch.manual_seed(0)
VOCAB, MASK, PAD = 30, 1, 0


class MiniBert(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.tokens = nn.Embedding(VOCAB, d, padding_idx=PAD)
        self.positions = nn.Embedding(12, d)
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.transform = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.LayerNorm(d))
        self.decoder = nn.Linear(d, VOCAB)
        self.decoder.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.size(1)))
        x = self.encoder(x, src_key_padding_mask=ids == PAD)
        return self.decoder(self.transform(x))


model = MiniBert()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
loss_fn = nn.CrossEntropyLoss(ignore_index=-100)
for step in range(40):
    start = torch.randint(2, VOCAB - 10, (16, 1))
    ids = start + torch.arange(10)
    lengths = torch.randint(5, 11, (16, 1))
    ids[torch.arange(10)[None] >= lengths] = PAD
    chosen = (torch.rand(16, 10) < 0.2) & (ids != PAD)
    chosen[:, 1] = True
    labels = ids.masked_fill(~chosen, -100)
    loss = loss_fn(model(ids.masked_fill(chosen, MASK)).flatten(0, 1), labels.flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
