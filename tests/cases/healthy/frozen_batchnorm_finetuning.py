"""Fine-tuning with BatchNorm layers kept in eval mode and frozen, the rest in train mode.

Source: "How to freeze BN layers while training the rest of network" (https://discuss.pytorch.org/t/how-to-freeze-bn-layers-while-training-the-rest-of-network-mean-and-var-wont-freeze/89736).
"""
import torch
import torch.nn as nn

torch.manual_seed(0)


def conv_block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())


model = nn.Sequential(conv_block(1, 8), conv_block(8, 8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(32, 3))


def set_bn_eval(module):
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
        for p in module.parameters():
            p.requires_grad = False


optimizer = torch.optim.SGD((p for p in model.parameters()), lr=0.05, momentum=0.9, weight_decay=1e-4)
prototypes = torch.randn(3, 1, 8, 8)
for epoch in range(6):
    model.train()
    model.apply(set_bn_eval)
    for _ in range(6):
        y = torch.randint(0, 3, (16,))
        x = prototypes[y] + 0.5 * torch.randn(16, 1, 8, 8)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(epoch, loss.item())
