"""Features computed in inference_mode, cloned to silence the error, and the trunk never trains.

Source: "Inference tensors cannot be saved for backward. To work around you can make a clone to get a normal tensor" (torch's own hint).
expect: {"code": "GT301", "where": {"parameter": ["trunk.0.weight", "trunk.0.bias", "trunk.2.weight"]}, "line": true}
"""
import torch
import torch.nn as nn


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(14, 32), nn.ReLU(), nn.Linear(32, 16))
        self.boxes = nn.Linear(16, 4)
        self.scores = nn.Linear(16, 2)

    def extract(self, x):
        with torch.inference_mode():  # <- fault
            return self.trunk(x)  # <- fault

    def forward(self, x):
        features = self.extract(x).clone()
        return self.boxes(features), self.scores(features)


torch.manual_seed(0)
model = Detector()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for step in range(50):
    x = torch.randn(32, 14)
    boxes, scores = model(x)
    loss = nn.functional.l1_loss(boxes, x[:, :4]) + nn.functional.cross_entropy(scores, (x[:, 5] > 0).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(step, loss.item())
