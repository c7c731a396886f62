"""A linear support vector machine on balanced, separable classes.

The bias's first gradient is exactly zero, and so is every gradient once the margin is kept.

Source: Cortes and Vapnik, "Support-Vector Networks" (Machine Learning, 1995), on classes that a line parts.
"""
import torch


def main(epochs=60):
    torch.manual_seed(0)
    x = torch.cat([torch.randn(50, 2) + 4, torch.randn(50, 2) - 4])
    y = torch.cat([torch.ones(50), -torch.ones(50)])
    weight, bias = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=0.1)
    for epoch in range(epochs):
        loss = torch.clamp(1 - y * (x @ weight + bias), min=0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(epoch, loss.item())


main()
