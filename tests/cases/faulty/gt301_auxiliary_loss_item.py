"""Two-headed network; the second head's loss is added as a Python number.

Source: UMLAUT-style student bug; see "Why is loss.item() not differentiable" answers on
https://discuss.pytorch.org/t/how-to-combine-multiple-criterions-to-a-loss-function/348.
expect: {"code": "GT301", "where": {"parameter": ["age_head.weight", "age_head.bias"]}, "line": true}
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class FaceNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 32), nn.ReLU())
        self.gender_head = nn.Linear(32, 2)
        self.age_head = nn.Linear(32, 1)

    def forward(self, x):
        h = self.trunk(x)
        return self.gender_head(h), self.age_head(h)


torch.manual_seed(0)
features = torch.randn(200, 12)
gender = (features[:, 0] > 0).long()
age = features[:, 1:4].sum(1, keepdim=True)

model = FaceNet()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for epoch in range(10):
    perm = torch.randperm(200)
    for start in range(0, 200, 50):
        rows = perm[start : start + 50]
        gender_logits, age_pred = model(features[rows])
        gender_loss = F.cross_entropy(gender_logits, gender[rows])
        age_loss = F.mse_loss(age_pred, age[rows])
        loss = gender_loss + 0.5 * age_loss.item()  # <- fault
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("epoch %d gender %.3f age %.3f" % (epoch, gender_loss.item(), age_loss.item()))
