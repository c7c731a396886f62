"""Recommender: user and item factors with biases, dot product, L2 through weight_decay.

Source: Koren et al., "Matrix factorization techniques for recommender systems" (2009).
"""
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class MF(nn.Module):
    def __init__(self, n_users, n_items, k=8):
        super().__init__()
        self.user, self.item = nn.Embedding(n_users, k), nn.Embedding(n_items, k)
        self.user_bias, self.item_bias = nn.Embedding(n_users, 1), nn.Embedding(n_items, 1)
        nn.init.normal_(self.user.weight, std=0.05)
        nn.init.normal_(self.item.weight, std=0.05)
        nn.init.zeros_(self.user_bias.weight)
        nn.init.zeros_(self.item_bias.weight)
        self.mean = nn.Parameter(torch.tensor(3.0))

    def forward(self, u, i):
        dot = (self.user(u) * self.item(i)).sum(-1)
        return dot + self.user_bias(u).squeeze(-1) + self.item_bias(i).squeeze(-1) + self.mean


torch.manual_seed(0)
users, items = torch.randint(0, 100, (2000,)), torch.randint(0, 60, (2000,))
taste, kind = torch.randn(100, 3), torch.randn(60, 3)
ratings = 3.5 + (taste[users] * kind[items]).sum(1) * 0.5
model = MF(100, 60)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-2, weight_decay=1e-5)
for epoch in range(4):
    for u, i, r in DataLoader(TensorDataset(users, items, ratings), batch_size=128, shuffle=True):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(u, i), r)
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
