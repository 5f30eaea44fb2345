"""The step of ``training_step.py`` in plain PyTorch, run by the Python that has it.

ResNet-18, SSPCAB in its fastest form (one dilated 2 x 2 convolution), projection head, cross
entropy and the block's own loss; channels_last. It shares nothing with this project but the way
it is asked: a word on standard input, a line ``answer SECONDS``.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class SSPCAB(nn.Module):
    """Corner taps, ReLU, channel attention; keeps its input and output for the loss."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.corners = nn.Conv2d(channels, channels, 2, padding=2, dilation=4)
        self.squeeze = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.excite = nn.Conv2d(channels // 8, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        predicted = F.relu(self.corners(x))
        pooled = predicted.mean(dim=(2, 3), keepdim=True)
        output = predicted * torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))
        self.pair = (x, output)
        return output


class Block(nn.Module):
    """Basic block of ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.short: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.short = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.short(x))


class Network(nn.Module):
    """Stem (up to layer2), the rest, and the head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            Block(64, 64, 1),
            Block(64, 64, 1),
            Block(64, 128, 2),
            Block(128, 128, 1),
        )
        self.rest = nn.Sequential(
            Block(128, 256, 2), Block(256, 256, 1), Block(256, 512, 2), Block(512, 512, 1)
        )
        self.rest[3].conv1 = self.block = SSPCAB(512)
        self.head = nn.Sequential(
            nn.Linear(512, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, 128, bias=False),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Linear(128, 3),
        )


def main() -> None:
    """Answers ``step`` with the seconds of one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--recipe", choices=["full", "frozen"], required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    network = Network().to(memory_format=torch.channels_last)
    frozen = options.recipe == "frozen"
    if frozen:
        network.stem.requires_grad_(False)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.03, momentum=0.9, weight_decay=3e-5)
    images = torch.randn(options.views, 3, options.size, options.size)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(options.views) % 3
    for _ in sys.stdin:
        network.train()
        network.stem.train(not frozen)
        started = time.perf_counter()
        with torch.set_grad_enabled(not frozen):
            features = network.stem(images)
        embedding = network.rest(features).mean(dim=(2, 3))
        given, predicted = network.block.pair
        loss = F.cross_entropy(network.head(embedding), labels)
        loss = loss + 0.1 * F.mse_loss(predicted, given)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"answer {time.perf_counter() - started}", flush=True)


if __name__ == "__main__":
    main()
