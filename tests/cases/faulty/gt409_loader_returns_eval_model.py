"""A helper that loads pretrained weights returns the model in eval mode, and it is fine-tuned that way.

Source: "What does model.train() do in PyTorch?" (https://stackoverflow.com/questions/51433378); from_pretrained returns models in eval mode.
expect: {"code": "GT409", "line": false}
"""
import io

import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.embed = nn.Embedding(25, 16)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.classifier = nn.Linear(16, 2)

    def forward(self, ids):
        return self.classifier(self.encoder(self.embed(ids)).mean(1))


def from_pretrained(checkpoint):
    model = Encoder()
    checkpoint.seek(0)
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model.eval()


torch.manual_seed(0)
buffer = io.BytesIO()
torch.save(Encoder().state_dict(), buffer)
model = from_pretrained(buffer)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for step in range(40):
    ids = torch.randint(0, 25, (16, 7))
    labels = (ids.float().mean(1) > 12).long()
    loss = nn.functional.cross_entropy(model(ids), labels)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
