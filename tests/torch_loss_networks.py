"""The networks that losses look through in PyTorch's own layers, with the names of their released files."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false

import torch
from torch import nn
from torch.nn import functional as F
from torch_networks import randomize as randomize_convolutions

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def randomize(module, seed=0):
    """Those of torch_networks, and slopes, unlike each other, for what is below zero."""
    generator = torch.Generator().manual_seed(seed + 1)
    for part in module.modules():
        if isinstance(part, nn.PReLU):
            part.weight.data.uniform_(0.1, 0.5, generator=generator)
        elif isinstance(part, nn.BatchNorm1d):
            part.weight.data.uniform_(0.5, 1.5, generator=generator)
            part.bias.data.uniform_(-0.2, 0.2, generator=generator)
            part.running_mean.uniform_(-0.2, 0.2, generator=generator)
            part.running_var.uniform_(0.5, 2.0, generator=generator)
    return randomize_convolutions(module, seed)


def conv(inputs, outputs, kernel=3, stride=1, bias=False):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=bias)


def imagenet(x):
    mean, std = (torch.tensor(row, dtype=x.dtype).view(1, 3, 1, 1) for row in IMAGENET)
    return (x - mean) / std


# --- LPIPS ------------------------------------------------------------------------------------------------------------


class VGG16(nn.Module):
    """torchvision's layers with its classifier's names; `forward` gives the five maps."""

    def __init__(self, widths=(64, 128, 256, 512, 512), depths=(2, 2, 3, 3, 3)):
        super().__init__()
        layers, inputs, self.taps = [], 3, []
        for width, depth in zip(widths, depths, strict=True):
            for _ in range(depth):
                layers += [conv(inputs, width, bias=True), nn.ReLU()]
                inputs = width
            self.taps.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Linear(4, 4))

    def forward(self, x):
        maps = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.taps:
                maps.append(x)
        return maps


class Weights(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(width, 1, 1, bias=False))


class LPIPS(nn.Module):
    """Pictures in [-1, 1]. Its state_dict has the layers in slices, and the weights of the channels twice."""

    def __init__(self, widths=(64, 128, 256, 512, 512)):
        super().__init__()
        self.vgg = [VGG16(widths)]  # in a list: not registered
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        for stage, width in enumerate(widths):
            self.add_module(f"lin{stage}", Weights(width))
        self.lins = nn.ModuleList(getattr(self, f"lin{stage}") for stage in range(5))

    def forward(self, first, second):
        total = 0
        maps = [self.vgg[0]((x - self.shift) / self.scale) for x in (first, second)]
        for a, b, weights in zip(*maps, self.lins, strict=True):
            a, b = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (a, b))
            total = total + weights.model((a - b).square()).mean((1, 2, 3))
        return total

    def whole_state(self):
        """As the package saves the module."""
        slices = {}
        for stage, last in enumerate(self.vgg[0].taps):
            first = 0 if stage == 0 else self.vgg[0].taps[stage - 1] + 1
            for place in range(first, last + 1):
                for name, value in self.vgg[0].features[place].state_dict().items():
                    slices[f"net.slice{stage + 1}.{place}.{name}"] = value
        own = {k: v for k, v in self.state_dict().items() if k.startswith("lin")}
        return slices | own | {"scaling_layer.shift": self.shift, "scaling_layer.scale": self.scale}

    def own_state(self):
        """As the package's own small file."""
        return {k: v for k, v in self.state_dict().items() if k.startswith("lin") and not k.startswith("lins")}


# --- ArcFace ----------------------------------------------------------------------------------------------------------


class IBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs)
        self.bn2, self.prelu = nn.BatchNorm2d(outputs), nn.PReLU(outputs)
        self.conv2, self.bn3 = conv(outputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (self.downsample(x) if hasattr(self, "downsample") else x)


class IResNet(nn.Module):
    def __init__(self, blocks=(3, 4, 14, 3), width=64, size=112, features=512):
        super().__init__()
        self.conv1, self.bn1, self.prelu = conv(3, width), nn.BatchNorm2d(width), nn.PReLU(width)
        inputs = width
        for stage, count in enumerate(blocks):
            outputs = width * 2**stage
            layers = [IBlock(outputs if block else inputs, outputs, 1 if block else 2) for block in range(count)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            inputs = outputs
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs * (size // 16) ** 2, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(2 * x - 1)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.normalize(self.features(self.fc(self.bn2(x).flatten(1))), dim=-1)


# --- BiSeNet ----------------------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class ResNet18(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            blocks = BasicBlock(inputs, outputs, 2 if stage else 1), BasicBlock(outputs, outputs, 1)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        at8 = self.layer2(self.layer1(x))
        at16 = self.layer3(at8)
        return at8, at16, self.layer4(at16)


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel=3):
        super().__init__()
        self.conv, self.bn = conv(inputs, outputs, kernel), nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class Refine(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = ConvNorm(inputs, outputs)
        self.conv_atten, self.bn_atten = conv(outputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(F.adaptive_avg_pool2d(x, 1))))


class Context(nn.Module):
    def __init__(self, width):
        super().__init__()
        outputs = 2 * width
        self.resnet = ResNet18(width)
        self.arm16, self.arm32 = Refine(4 * width, outputs), Refine(8 * width, outputs)
        self.conv_head32, self.conv_head16 = ConvNorm(outputs, outputs), ConvNorm(outputs, outputs)
        self.conv_avg = ConvNorm(8 * width, outputs, 1)

    def forward(self, x):
        at8, at16, at32 = self.resnet(x)
        average = F.interpolate(self.conv_avg(F.adaptive_avg_pool2d(at32, 1)), at32.shape[2:], mode="nearest")
        up32 = self.conv_head32(F.interpolate(self.arm32(at32) + average, at16.shape[2:], mode="nearest"))
        up16 = self.conv_head16(F.interpolate(self.arm16(at16) + up32, at8.shape[2:], mode="nearest"))
        return at8, up16, up32


class Fuse(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.convblk = ConvNorm(width, width, 1)
        self.conv1, self.conv2 = conv(width, width // 4, 1), conv(width // 4, width, 1)

    def forward(self, x, y):
        x = self.convblk(torch.cat([x, y], 1))
        return x + x * torch.sigmoid(self.conv2(F.relu(self.conv1(F.adaptive_avg_pool2d(x, 1)))))


class Output(nn.Module):
    def __init__(self, inputs, middle, classes):
        super().__init__()
        self.conv, self.conv_out = ConvNorm(inputs, middle), conv(middle, classes, 1)

    def forward(self, x):
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    def __init__(self, classes=19, width=64):
        super().__init__()
        self.cp, self.ffm = Context(width), Fuse(4 * width)
        self.conv_out = Output(4 * width, 4 * width, classes)
        self.conv_out16, self.conv_out32 = Output(2 * width, width, classes), Output(2 * width, width, classes)

    def forward(self, x):
        at8, up16, _ = self.cp(imagenet(x))
        return F.interpolate(self.conv_out(self.ffm(at8, up16)), x.shape[2:], mode="bilinear", align_corners=True)


# --- DPR --------------------------------------------------------------------------------------------------------------


class HourglassBasic(nn.Module):
    def __init__(self, inputs, outputs, batch=True):
        super().__init__()
        self.conv1, self.conv2 = conv(inputs, outputs), conv(outputs, outputs)
        norm = nn.BatchNorm2d if batch else nn.InstanceNorm2d
        self.bn1, self.bn2 = norm(outputs), norm(outputs)
        self.shortcuts = conv(inputs, outputs, 1)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if x.shape[1] == y.shape[1] else self.shortcuts(x)))


class Level(nn.Module):
    def __init__(self, inputs, outputs, middle):
        super().__init__()
        self.upper = HourglassBasic(inputs, inputs, batch=False)
        self.low1, self.middle = HourglassBasic(inputs, outputs), middle
        self.low2 = HourglassBasic(outputs, inputs, batch=False)

    def forward(self, x):  # the light only: nothing is drawn
        return self.middle(self.low1(F.max_pool2d(x, 2, 2)))


class Light(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.predict_FC1, self.predict_relu1 = conv(27, hidden, 1), nn.PReLU()
        self.predict_FC2 = conv(hidden, 9, 1)
        self.post_FC1, self.post_relu1, self.post_FC2 = conv(9, hidden, 1), nn.PReLU(), conv(hidden, 27, 1)

    def forward(self, x):
        x = x[:, :27].mean((2, 3), keepdim=True)
        return self.predict_FC2(self.predict_relu1(self.predict_FC1(x))).flatten(1)


class DPR(nn.Module):
    """The innermost modules are registered over and over, as in the original."""

    def __init__(self, width=16, hidden=128):
        super().__init__()
        self.pre_conv, self.pre_bn = conv(1, width, 5, bias=True), nn.BatchNorm2d(width)
        self.light = Light(hidden)
        self.HG0 = Level(4 * width, 8 * width + 27, self.light)
        self.HG1 = Level(2 * width, 4 * width, self.HG0)
        self.HG2 = Level(width, 2 * width, self.HG1)
        self.HG3 = Level(width, width, self.HG2)
        for number, kernel in ((1, 3), (2, 1), (3, 1)):
            self.add_module(f"conv_{number}", conv(width, width, kernel, bias=True))
            self.add_module(f"bn_{number}", nn.BatchNorm2d(width))
        self.output = conv(width, 1, 1, bias=True)

    def forward(self, lightness):
        return self.HG3(F.relu(self.pre_bn(self.pre_conv(lightness))))


# --- FAN --------------------------------------------------------------------------------------------------------------


class FANBlock(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv(inputs, outputs // 2)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs // 2), conv(outputs // 2, outputs // 4)
        self.bn3, self.conv3 = nn.BatchNorm2d(outputs // 4), conv(outputs // 4, outputs // 4)
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), conv(inputs, outputs, 1))

    def forward(self, x):
        a = self.conv1(F.relu(self.bn1(x)))
        b = self.conv2(F.relu(self.bn2(a)))
        c = self.conv3(F.relu(self.bn3(b)))
        return torch.cat([a, b, c], 1) + (self.downsample(x) if hasattr(self, "downsample") else x)


class Hourglass(nn.Module):
    def __init__(self, width):
        super().__init__()
        for level in (4, 3, 2, 1):
            for name in ("b1", "b2", "b3", *(["b2_plus"] if level == 1 else [])):
                self.add_module(f"{name}_{level}", FANBlock(width, width))

    def forward(self, x, level=4):
        low = getattr(self, f"b2_{level}")(F.avg_pool2d(x, 2, 2))
        low = self(low, level - 1) if level > 1 else self.b2_plus_1(low)
        low = F.interpolate(getattr(self, f"b3_{level}")(low), scale_factor=2, mode="nearest")
        return getattr(self, f"b1_{level}")(x) + low


class FAN(nn.Module):
    def __init__(self, modules=4, width=256, points=68):
        super().__init__()
        self.count = modules
        self.conv1, self.bn1 = conv(3, width // 4, 7, 2, bias=True), nn.BatchNorm2d(width // 4)
        self.conv2, self.conv3 = FANBlock(width // 4, width // 2), FANBlock(width // 2, width // 2)
        self.conv4 = FANBlock(width // 2, width)
        for k in range(modules):
            self.add_module(f"m{k}", Hourglass(width))
            self.add_module(f"top_m_{k}", FANBlock(width, width))
            self.add_module(f"conv_last{k}", conv(width, width, 1, bias=True))
            self.add_module(f"bn_end{k}", nn.BatchNorm2d(width))
            self.add_module(f"l{k}", conv(width, points, 1, bias=True))
            if k < modules - 1:
                self.add_module(f"bl{k}", conv(width, width, 1, bias=True))
                self.add_module(f"al{k}", conv(points, width, 1, bias=True))

    def forward(self, x):
        x = F.avg_pool2d(self.conv2(F.relu(self.bn1(self.conv1(x)))), 2, 2)
        x = maps = self.conv4(self.conv3(x))
        for k in range(self.count):
            y = getattr(self, f"top_m_{k}")(getattr(self, f"m{k}")(x))
            y = F.relu(getattr(self, f"bn_end{k}")(getattr(self, f"conv_last{k}")(y)))
            maps = getattr(self, f"l{k}")(y)
            if k < self.count - 1:
                x = x + getattr(self, f"bl{k}")(y) + getattr(self, f"al{k}")(maps)
        return maps
