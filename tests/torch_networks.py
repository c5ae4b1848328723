"""The networks of 3DDFA, 2DASL and Deep3DFaceRecon in PyTorch's own layers, with the names of their released files."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false

import torch
from torch import nn
from torch.nn import functional as F

TABLE = "64,1 128,2 128,1 256,2 256,1 512,2 512,1 512,1 512,1 512,1 512,1 1024,2 1024,1"
NAMES = "dw2_1 dw2_2 dw3_1 dw3_2 dw4_1 dw4_2 dw5_1 dw5_2 dw5_3 dw5_4 dw5_5 dw5_6 dw6"


def randomize(module, seed=0):
    """Weights that keep the scale of activations, and statistics far from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value, low, high in (
                (part.weight, 0.5, 1.5),
                (part.bias, -0.2, 0.2),
                (part.running_mean, -0.2, 0.2),
                (part.running_var, 0.5, 2.0),
            ):
                value.data.uniform_(low, high, generator=generator)
        elif isinstance(part, nn.Conv2d | nn.Linear):
            fan_in = part.weight[0].numel()
            part.weight.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if part.bias is not None:
                part.bias.data.normal_(0, 1, generator=generator)
    return module.eval()


class Separable(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv_dw = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.bn_dw = nn.BatchNorm2d(inputs)
        self.conv_sep = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn_sep = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn_sep(self.conv_sep(F.relu(self.bn_dw(self.conv_dw(x))))))


class MobileNet(nn.Module):
    """3DDFA's when `landmarks` is False (the head is called fc), 3DDFA_V2's when True (fc_param and fc_lm)."""

    def __init__(self, widen=1.0, landmarks=True):
        super().__init__()
        count = int(32 * widen)
        self.conv1 = nn.Conv2d(3, count, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(count)
        for name, row in zip(NAMES.split(), TABLE.split(), strict=True):
            outputs, stride = (int(number) for number in row.split(","))
            self.add_module(name, Separable(count, int(outputs * widen), stride))
            count = int(outputs * widen)
        if landmarks:
            self.fc_param, self.fc_lm = nn.Linear(count, 62), nn.Linear(count, 136)
        else:
            self.fc = nn.Linear(count, 62)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for name in NAMES.split():
            x = getattr(self, name)(x)
        return (self.fc_param if hasattr(self, "fc_param") else self.fc)(x.mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride, project):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        if project:
            shortcut = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet(nn.Module):
    """Without its head."""

    def __init__(self, channels=3, last_stride=2, blocks=(3, 4, 6, 3)):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, (count, stride) in enumerate(zip(blocks, (1, 2, 2, last_stride), strict=True)):
            layers, width = [], 64 * 2**stage
            for block in range(count):
                layers.append(Bottleneck(inputs, width, 1 if block else stride, not block))
                inputs = 4 * width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class TwoDASL(ResNet):
    def __init__(self, blocks=(3, 4, 6, 3)):
        super().__init__(4, 1, blocks)
        self.avgpool = nn.AvgPool2d(7, 2)
        self.fc = nn.Linear(2048, 62)

    def forward(self, x):
        return self.fc(self.avgpool(super().forward(x)).flatten(1))


class Deep3D(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = ResNet()
        self.final_layers = nn.ModuleList(nn.Conv2d(2048, size, 1) for size in (80, 64, 80, 3, 27, 2, 1))

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.backbone(x), 1)
        return torch.cat([layer(x) for layer in self.final_layers], 1).flatten(1)
