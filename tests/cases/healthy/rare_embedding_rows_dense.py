"""A dense embedding table of which each batch touches a few rows.

Source: recommender and language models; no fault.
"""
import torch
from torch import nn


class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1000, 16, padding_idx=0)
        self.fc1 = nn.Linear(16, 16)
        self.fc2 = nn.Linear(16, 2)

    def forward(self, ids):
        mask = (ids != 0).float().unsqueeze(-1)
        mean = (self.embedding(ids) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.fc2(torch.relu(self.fc1(mean)))


torch.manual_seed(0)
model = BagOfWords()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(60):
    y = torch.randint(0, 2, (32,))
    ids = torch.randint(1, 500, (32, 8)) + y[:, None] * 250
    ids[:, 6:] *= (torch.rand(32, 2) > 0.5).long()
    loss = nn.functional.cross_entropy(model(ids), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print("loss", loss.item())
