"""Linear regression updated by hand with a rate beyond 2 / curvature: each step makes the next gradient larger.

Source: LeCun et al., "Efficient BackProp" (1998), section 4.6: a rate of more than twice the optimal one diverges.
expect: {"code": "GT102", "where": {"parameter": ["w"]}}
"""
import torch

torch.manual_seed(0)
x = 3 * torch.randn(80, 5)
y = x @ torch.arange(5.0)
w = torch.zeros(5, requires_grad=True)
for epoch in range(40):
    loss = ((x @ w - y) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.2 * w.grad
    w.grad.zero_()
    if epoch % 10 == 0:
        print(epoch, loss.item())
