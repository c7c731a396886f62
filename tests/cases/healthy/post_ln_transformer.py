"""Sequence-to-sequence nn.Transformer (post-LN) with causal mask, label smoothing and warm-up.

Source: Vaswani et al., "Attention is all you need" (2017); PyTorch translation tutorial.
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
PAD, BOS, VOCAB = 0, 1, 14


class Translator(nn.Module):
    def __init__(self, d=32):
        super().__init__()
        self.src = nn.Embedding(VOCAB, d, padding_idx=PAD)
        self.tgt = nn.Embedding(VOCAB, d, padding_idx=PAD)
        self.register_buffer("pe", torch.sin(torch.arange(12)[:, None] * torch.exp(-torch.arange(d) / 8)))
        self.transformer = nn.Transformer(d, 4, 1, 2, 64, dropout=0.0, batch_first=True)
        self.generator = nn.Linear(d, VOCAB)

    def forward(self, src, tgt):
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.size(1))
        out = self.transformer(
            self.src(src) + self.pe[: src.size(1)], self.tgt(tgt) + self.pe[: tgt.size(1)],
            tgt_mask=mask, tgt_is_causal=True,
        )
        return self.generator(out)


model = Translator()
criterion = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=0.1)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.98), eps=1e-9)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / 10, 1.0))
for step in range(50):
    src = torch.randint(2, VOCAB, (24, 7))
    tgt = torch.cat([torch.full((24, 1), BOS), src], 1)
    loss = criterion(model(src, tgt[:, :-1]).transpose(1, 2), tgt[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    if step % 10 == 0:
        print(step, loss.item())
