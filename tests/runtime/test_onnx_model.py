import paddle
from paddle import nn

from ppcls_sspcab.detector.card import DetectorCard
from ppcls_sspcab.exporting.export import export_detector
from ppcls_sspcab.image.preprocess import Preprocess
from ppcls_sspcab.runtime.onnx_model import multiply_adds


class Detector(nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2D(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2D(4)
        self.second = nn.Conv2D(4, 6, 3, groups=2)
        self.register_buffer("matrix", paddle.randn([6, 5]))
        self.register_buffer("threshold", paddle.full([], 1.0))
        self.register_buffer("scale", paddle.full([], 1.0))

    def forward(self, images):
        embedding = self.second(self.norm(self.first(images))).mean(axis=[2, 3])
        score = (embedding @ self.matrix).square().sum(-1)
        return {"score": score, "normalized_score": score - 1.0, "embedding": embedding}


def test_multiply_adds_by_hand(tmp_path):
    preprocess = Preprocess(image_size=(16, 24))
    card = DetectorCard(arch={}, density={}, preprocess=preprocess, category="part")
    folder = export_detector(Detector(), card, tmp_path / "inference", ["onnx"])
    first = 4 * 8 * 12 * (3 * 3 * 3)
    second = 6 * 6 * 10 * (2 * 3 * 3)
    assert multiply_adds(folder / "model.onnx") == first + second + 6 * 5
