"""Gradient accumulation that clears the gradients before every micro-batch.

Source: "How to implement accumulated gradient?" (https://discuss.pytorch.org/t/how-to-implement-accumulated-gradient/3822).
expect: {"code": "GT404", "line": true}
"""
import torch
import torch.nn as nn

torch.manual_seed(0)
accumulation_steps = 4
model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss()
inputs = torch.randn(640, 10)
targets = inputs[:, :5].argmax(1)

for epoch in range(2):
    for i, start in enumerate(range(0, 640, 8)):
        optimizer.zero_grad()  # <- fault
        outputs = model(inputs[start : start + 8])
        loss = criterion(outputs, targets[start : start + 8]) / accumulation_steps
        loss.backward()
        if (i + 1) % accumulation_steps == 0:
            optimizer.step()
    print(epoch, loss.item() * accumulation_steps)
