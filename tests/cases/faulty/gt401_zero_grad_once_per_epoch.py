"""zero_grad once an epoch while step runs once a batch.

Source: "How are optimizer.step() and loss.backward() related?" (https://discuss.pytorch.org/t/how-are-optimizer-step-and-loss-backward-related/7350).
expect: {"code": "GT401", "line": false}
"""
import torch
import torch.nn.functional as F

torch.manual_seed(2)
inputs = torch.randn(200, 5)
targets = torch.softmax(inputs @ torch.randn(5, 3), 1).argmax(1)


class LogisticRegression(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(5, 3)

    def forward(self, x):
        return self.linear(x)


model = LogisticRegression()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for epoch in range(6):
    optimizer.zero_grad()
    for i in range(0, 200, 20):
        logits = model(inputs[i : i + 20])
        loss = F.cross_entropy(logits, targets[i : i + 20])
        loss.backward()
        optimizer.step()
    print("epoch", epoch, "loss", loss.item())
