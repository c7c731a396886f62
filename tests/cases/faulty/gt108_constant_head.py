"""Two hidden layers filled with one constant by a custom reset function in an otherwise random model.

Source: smdebug rule PoorWeightInitialization; TheDeepChecker (Ben Braiek & Khomh, 2023), wrong initialisation.
expect: {"code": "GT108", "where": {"parameter": ["head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"]}, "line": false}
"""
import torch
import torch.nn as nn


class SequenceModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 12, batch_first=True)
        self.head = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 1))
        self.reset_head()

    def reset_head(self):
        for p in self.head.parameters():
            nn.init.constant_(p, 0.1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def run():
    torch.manual_seed(0)
    model = SequenceModel()
    optim = torch.optim.Adam(model.parameters(), lr=1e-2)
    for i in range(50):
        x = torch.randn(32, 5, 3)
        y = x[:, :, 0].sum(1, keepdim=True)
        loss = (model(x) - y).abs().mean()
        optim.zero_grad()
        loss.backward()
        optim.step()
    return loss.item()


print(run())
