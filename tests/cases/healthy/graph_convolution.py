"""Two-layer GCN on one fixed graph; only the training nodes give a loss; early stopping on the others.

Source: Kipf & Welling (2017); pygcn.
"""
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class GraphConvolution(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(i, o))
        self.bias = nn.Parameter(torch.zeros(o))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, adjacency):
        return torch.sparse.mm(adjacency, x @ self.weight) + self.bias


class GCN(nn.Module):
    def __init__(self, nfeat, nhid, nclass):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(nfeat, nhid), GraphConvolution(nhid, nclass)

    def forward(self, x, adjacency):
        x = F.dropout(F.relu(self.gc1(x, adjacency)), 0.5, training=self.training)
        return F.log_softmax(self.gc2(x, adjacency), dim=1)


rng = np.random.default_rng(0)
torch.manual_seed(0)
labels = np.arange(90) % 3
links = rng.random((90, 90)) < np.where(labels[:, None] == labels[None], 0.15, 0.02)
dense = torch.from_numpy((links | links.T | np.eye(90, dtype=bool)).astype(np.float32))
adjacency = (dense / dense.sum(1, keepdim=True)).to_sparse()
features, labels = torch.randn(90, 20), torch.from_numpy(labels)
features[torch.arange(90), labels] += 1.0
model = GCN(20, 16, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02, weight_decay=5e-4)
best, patience = float("inf"), 0
for epoch in range(80):
    model.train()
    optimizer.zero_grad()
    loss = F.nll_loss(model(features, adjacency)[:30], labels[:30])
    loss.backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        validation = F.nll_loss(model(features, adjacency)[30:60], labels[30:60]).item()
    patience = 0 if validation < best else patience + 1
    best = min(best, validation)
    if patience == 15:
        break
print("stopped at", epoch, "best", best)
