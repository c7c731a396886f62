"""Linear warm-up whose first learning rate is exactly zero, then cosine decay.

Source: transformers.get_cosine_schedule_with_warmup (LambdaLR).
"""
import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

torch.manual_seed(0)
TOTAL, WARMUP = 80, 15


def schedule(step):
    if step < WARMUP:
        return step / WARMUP
    progress = (step - WARMUP) / (TOTAL - WARMUP)
    return 0.5 * (1 + math.cos(math.pi * progress))


layer = nn.TransformerEncoderLayer(d_model=16, nhead=2, dim_feedforward=32, batch_first=True, norm_first=True)
model = nn.Sequential(nn.Embedding(20, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 20))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
scheduler = LambdaLR(optimizer, schedule)
for step in range(TOTAL):
    tokens = torch.randint(0, 20, (16, 8))
    loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), ((tokens + 1) % 20).flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    scheduler.step()
    if step % 20 == 0:
        print(step, f"lr {scheduler.get_last_lr()[0]:.2e} loss {loss.item():.3f}")
