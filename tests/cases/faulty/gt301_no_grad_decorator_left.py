"""@torch.no_grad() left on a method that is also used in training.

Source: https://stackoverflow.com/questions/56816241; code-review finding in many re-implementations of contrastive models.
expect: {"code": "GT301", "where": {"parameter": ["text_encoder.embedding.weight", "text_encoder.proj.weight", "text_encoder.proj.bias"]}, "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class TextEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(50, 16)
        self.proj = nn.Linear(16, 12)

    def forward(self, tokens):
        return self.proj(self.embedding(tokens))


class ImageEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 12))

    def forward(self, x):
        return self.body(x)


class CLIP(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_encoder = ImageEncoder()
        self.text_encoder = TextEncoder()
        self.temperature = nn.Parameter(torch.tensor(2.0))

    @torch.no_grad()  # <- fault
    def encode_text(self, tokens):
        return F.normalize(self.text_encoder(tokens), dim=-1)  # <- fault

    def forward(self, images, tokens):
        image = F.normalize(self.image_encoder(images), dim=-1)
        text = self.encode_text(tokens)  # <- fault
        return self.temperature.exp() * image @ text.T


torch.manual_seed(0)
model = CLIP()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
world = torch.randn(50, 20)
for step in range(50):
    tokens = torch.randint(0, 50, (32, 3))
    images = world[tokens].mean(1) + 0.1 * torch.randn(32, 20)
    logits = model(images, tokens)
    target = torch.arange(32)
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
