"""torch.set_grad_enabled(False) for validation, never switched on again.

Source: "element 0 of tensors does not require grad" after an evaluation function (https://discuss.pytorch.org/t/element-0-of-tensors-does-not-require-grad-and-does-not-have-a-grad-fn/32908).
expect: {"code": "GT303", "line": true}
"""
import torch
import torch.nn as nn


class Trainer:
    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 1))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.criterion = nn.MSELoss()

    def train_epoch(self):
        self.model.train()
        for _ in range(10):
            x = torch.randn(16, 6)
            loss = self.criterion(self.model(x), x.sum(1, keepdim=True))  # <- fault
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return loss.item()

    def validate(self):
        self.model.eval()
        torch.set_grad_enabled(False)  # <- fault
        x = torch.randn(64, 6)
        return self.criterion(self.model(x), x.sum(1, keepdim=True)).item()

    def fit(self, epochs):
        for epoch in range(epochs):
            train = self.train_epoch()
            print(epoch, train, self.validate())


Trainer().fit(3)
