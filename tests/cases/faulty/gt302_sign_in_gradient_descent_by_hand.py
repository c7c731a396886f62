"""Binary activations without a straight-through estimator, in gradient descent written out on plain tensors.

Source: binarised networks need an estimator in place of the derivative of sign (Hubara et al., arXiv:1602.02830).
expect: {"code": "GT302", "where": {"parameter": ["hidden"]}, "line": true}
"""
import torch


def main():
    torch.manual_seed(0)
    hidden = (0.4 * torch.randn(6, 24)).requires_grad_()
    output = (0.2 * torch.randn(24, 2)).requires_grad_()
    inputs = torch.randn(120, 6)
    targets = torch.stack([inputs[:, 0] * inputs[:, 1], inputs[:, 2]], dim=1)
    for _ in range(20):
        codes = torch.sign(inputs @ hidden)  # <- fault
        loss = (codes @ output - targets).square().mean()
        loss.backward()
        for weight in (hidden, output):
            with torch.no_grad():
                weight.sub_(0.02 * weight.grad)
            weight.grad = None
    print("loss", loss.item())


main()
