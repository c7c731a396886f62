"""Federated averaging whose clients train a copy and step the global model that it was copied from.

Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data" (2017), Algorithm 1:
ClientUpdate steps its own copy.
expect: {"code": "GT405", "where": {"optimizer": ["optimizer"]}, "line": false}
"""
import copy

import torch
from torch import nn


def client_update(global_model, x, y, steps=5):
    model = copy.deepcopy(global_model)
    optimizer = torch.optim.SGD(global_model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return model.state_dict(), loss.item()


def main(rounds=5):
    torch.manual_seed(0)
    global_model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    clients = [(torch.randn(64, 8) + shift, torch.randn(64, 1) + shift) for shift in range(3)]
    for number in range(rounds):
        states, losses = zip(*(client_update(global_model, x, y) for x, y in clients))
        global_model.load_state_dict({key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]})
        print(number, sum(losses) / len(losses))


main()
