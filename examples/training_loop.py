"""Rate-BP in a training loop of your own: python examples/training_loop.py [grad_mode]."""

import sys

import torch
from sklearn.datasets import load_digits
from spikingjelly.activation_based.neuron import LIFNode
from torch import nn

import rbp

torch.manual_seed(0)
grad_mode = sys.argv[1] if sys.argv[1:] else "rate"
pixels, labels = (torch.tensor(array) for array in load_digits(return_X_y=True))
images = (pixels.float() / 16).view(-1, 1, 8, 8)
net = nn.Sequential(
    *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), LIFNode(), nn.AvgPool2d(2)),
    *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), LIFNode(), nn.Flatten(), nn.Linear(1024, 10)),
)
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for epoch in range(3):
    for batch in torch.randperm(1500).split(50):
        y = rbp.forward(net, images[batch], T=4, grad_mode=grad_mode)
        nn.functional.cross_entropy(y, labels[batch]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        right = rbp.forward(net.eval(), images[1500:], T=4).argmax(1) == labels[1500:]
    print(f"epoch {epoch + 1}: test acc {right.float().mean():.2%}")
    net.train()
