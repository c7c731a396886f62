"""A linear recurrence written with plain tensors; its matrix turns and stretches by 1.45 at each of 60 steps.

Source: Pascanu et al., "On the difficulty of training recurrent neural networks" (2013).
expect: {"code": "GT102", "where": {"parameter": ["w_rec"]}, "line": true, "also": ["GT103"]}
"""
import torch

torch.manual_seed(0)
w_in = (0.3 * torch.randn(4, 24)).requires_grad_()
w_rec = (1.45 * torch.linalg.qr(torch.randn(24, 24))[0]).requires_grad_()
w_out = (0.1 * torch.randn(24, 1)).requires_grad_()
optimizer = torch.optim.Adam([w_in, w_rec, w_out], lr=1e-4)
for step in range(40):
    x = torch.randn(60, 16, 4)
    y = (x.sum((0, 2)) > 0).float()
    h = torch.zeros(16, 24)
    for t in range(60):
        h = x[t] @ w_in + h @ w_rec  # <- fault
    loss = torch.nn.functional.binary_cross_entropy_with_logits((h @ w_out).squeeze(1), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
