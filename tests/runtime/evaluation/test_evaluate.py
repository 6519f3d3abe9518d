"""From pictures to the figures and pictures of a report, with engines that are real."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from toy_artifact import LABELS, SIZE, toy_artifact

from bisenet_edge.dataset import Sample
from bisenet_edge.errors import BackendError, DatasetError
from bisenet_edge.labels import LabelSet
from bisenet_edge.metrics import Confusion
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.runtime.backends.base import Session
from bisenet_edge.runtime.evaluation.evaluate import EngineOptions, Subject, evaluate, evaluate_artifact
from bisenet_edge.runtime.evaluation.gallery import SHOWN, Gallery
from bisenet_edge.runtime.evaluation.method import Method
from bisenet_edge.runtime.evaluation.segment import READ_AHEAD, read_ahead, with_session
from bisenet_edge.runtime.evaluation.text import confusion_text, evaluation_text, most_confused

ENGINES = ("openvino", "onnxruntime", "reference")


@dataclass(frozen=True)
class Pictures:
    samples: tuple
    labels: LabelSet = LABELS
    uri: str = "folder:toy"
    split: str = "val"

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def sample(name, hw, seed):
    """Blocks of 8 x 8 pixels of one brightness; the toy network's classes, and a few void pixels."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 256, (-(-hw[0] // 8), -(-hw[1] // 8), 1)).repeat(3, 2)
    image = np.kron(grey, np.ones((8, 8, 1)))[: hw[0], : hw[1]].astype(np.uint8)
    label = rng.integers(0, 3, hw).astype(np.uint8)
    label[:2] = 255
    return Sample(name, image, label)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_artifact(tmp_path_factory.mktemp("toy") / "toy")


@pytest.fixture(scope="module")
def pictures():
    return Pictures(tuple(sample(f"p{i}", hw, i) for i, hw in enumerate([SIZE.hw, (20, 64), (50, 100)])))


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_engine_gives_the_logits_that_its_mask_is_made_from(toy, backend, precision):
    frame = sample("p", SIZE.hw, 5).image
    with open_session(toy, precision, backend=backend) as session:
        logits = session.logits(frame).copy()
        mask = session.infer(frame).copy()
        assert (session.logits(frame) == logits).all()  # a mask in between changes nothing
    assert logits.dtype == np.float32
    assert logits.shape == (3, 4, 8)
    grey = frame[::8, ::8, 0].astype(np.float64)
    expected = np.stack([100 - grey, np.full_like(grey, 20), grey - 150])
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    full = np.stack([cv2.resize(plane, SIZE.hw[::-1]) for plane in logits])
    assert (mask == full.argmax(0)).mean() > 0.999


@pytest.mark.parametrize("backend", ENGINES)
def test_logits_are_refused_as_masks_are(toy, backend):
    with open_session(toy, "fp32", backend=backend) as session:
        with pytest.raises(BackendError, match="does not fit the network"):
            session.logits(np.zeros((8, 8, 3), np.uint8))
        session.submit(np.zeros((*SIZE.hw, 3), np.uint8))
        with pytest.raises(BackendError, match="in flight"):
            session.logits(np.zeros((*SIZE.hw, 3), np.uint8))
    with pytest.raises(BackendError, match="closed"):
        session.logits(np.zeros((*SIZE.hw, 3), np.uint8))


@pytest.mark.parametrize("backend", ["null", "tensorrt"])
def test_an_engine_without_logits_says_so_before_it_is_opened(toy, pictures, backend):
    options = EngineOptions(backend, method=Method(flip=True))
    with pytest.raises(BackendError, match=f"'{backend}' gives masks, not class scores") as caught:
        evaluate_artifact(toy, pictures, "int8", options)
    assert "--backend cpu" in caught.value.fix


def test_a_session_that_only_has_masks_says_the_same(toy):
    with open_session(toy, "int8", backend="null") as session, pytest.raises(BackendError, match="masks"):
        session.logits(np.zeros((*SIZE.hw, 3), np.uint8))


@pytest.mark.parametrize("backend", ENGINES)
def test_the_figures_are_those_of_an_independent_confusion(toy, pictures, backend):
    told = []
    result = evaluate_artifact(toy, pictures, "fp32", EngineOptions(backend), lambda *step: told.append(step))
    counts = np.zeros((3, 3), np.int64)
    with open_session(toy, "fp32", backend="reference") as session:
        for one in pictures:
            height, width = one.label.shape
            scale = min(SIZE.height / height, SIZE.width / width)
            inner = round(height * scale), round(width * scale)
            method = cv2.INTER_AREA if height >= 2 * inner[0] else cv2.INTER_LINEAR_EXACT
            frame = np.full((*SIZE.hw, 3), 128, np.uint8)
            frame[: inner[0], : inner[1]] = cv2.resize(one.image, inner[::-1], interpolation=method)
            mask = session.infer(frame)[: inner[0], : inner[1]]
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
            for row in range(3):
                for column in range(3):
                    counts[row, column] += np.sum((one.label == row) & (mask == column))
    assert np.abs(result.confusion.counts - counts).sum() <= 4  # ties of two classes
    assert result.confusion.counts.sum() == sum((one.label != 255).sum() for one in pictures)
    assert told == [("evaluating", done, 3) for done in (1, 2, 3)]


@pytest.mark.parametrize("method", [Method((0.5, 1.0, 1.75), flip=True), Method(slide=0.33, flip=True)])
def test_engines_agree_on_the_mean_of_many_views(toy, pictures, method):
    results = [
        evaluate_artifact(toy, pictures, "fp32", EngineOptions(backend, method=method)) for backend in ENGINES
    ]
    for other in results[1:]:
        differing = np.abs(results[0].confusion.counts - other.confusion.counts).sum()
        assert differing <= 0.001 * results[0].confusion.counts.sum()


def test_flip_changes_nothing_for_a_network_of_symmetric_blocks(toy):
    # 64 x 32 is a whole number of blocks, so mirroring maps blocks onto blocks.
    whole = Pictures(tuple(sample(f"p{i}", SIZE.hw, i) for i in range(3)))
    plain, flipped = (
        evaluate_artifact(toy, whole, "fp32", EngineOptions("openvino", method=method))
        for method in (Method(), Method(flip=True))
    )
    assert np.abs(plain.confusion.counts - flipped.confusion.counts).sum() <= 4


def test_the_manifest_says_how_wide_a_logit_is(toy):
    class FullSize(Session):
        backend = "full size"

        def _infer(self, frame, mask):
            raise AssertionError("logits were to be asked for")

        def _logits_of(self, frame):
            return np.stack([frame[..., 0] == index for index in range(3)]).astype(np.float32)

    artifact = replace(toy, manifest=replace(toy.manifest, logits_stride=1))
    label = np.random.default_rng(0).integers(0, 3, SIZE.hw).astype(np.uint8)
    one = Sample("p", label[..., None].repeat(3, 2), label)
    with FullSize(artifact, "fp32") as session:
        ((_, mask),) = with_session(session, Method(flip=True))(iter([one]))
    assert (mask == label).all()


def test_the_section_is_plain_json_and_its_text_has_the_figures(toy, pictures):
    result = evaluate_artifact(toy, pictures, "", EngineOptions("openvino", method=Method((0.5, 1.0))))
    section = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert (section["precision"], section["engine"], section["size"]) == ("int8", "openvino", "64x32")
    assert section["method"] == {"scales": [0.5, 1.0], "flip": False, "slide": None, "text": "scales 0.5, 1"}
    counts = np.array(section["confusion"])
    for index in range(3):
        hit = counts[index, index]
        union = counts[index].sum() + counts[:, index].sum() - hit
        assert section["iou"][index] == pytest.approx(hit / union, abs=1e-6)
        assert section["class_recall"][index] == pytest.approx(hit / counts[index].sum(), abs=1e-6)
        assert section["class_precision"][index] == pytest.approx(hit / counts[:, index].sum(), abs=1e-6)
    assert sum(section["class_share"]) == pytest.approx(1, abs=1e-5)
    text = evaluation_text(section, confusion=True)
    assert f"mIoU {100 * section['miou']:.2f}   pixel accuracy {100 * section['pixel_accuracy']:.2f}" in text
    assert "folder:toy val, 3 pictures" in text
    assert "scales 0.5, 1" in text
    assert "confusion" in text


def test_the_matrix_in_text():
    lines = confusion_text(["road", "car", "tree"], [[996, 4, 0], [50, 950, 0], [0, 0, 0]]).splitlines()
    assert lines[1].split() == ["0", "1", "2"]
    assert [line.split() for line in lines[2:]] == [
        ["0", "road", "100", ".", "."],
        ["1", "car", "5", "95", "."],
        ["2", "tree", "-", "-", "-"],
    ]


def test_the_pairs_that_cost_most():
    pairs = most_confused(["a", "b", "c"], [[90, 10, 0], [30, 70, 0], [0, 0, 5]], most=1)
    assert pairs == [{"label": "b", "mask": "a", "share": 0.3, "of_errors": 0.75}]
    assert most_confused(["a"], [[5]]) == []


def test_other_classes_and_no_labels_are_refused(toy, pictures):
    other = LabelSet("other", ("x", "y", "z"), LABELS.palette)
    with pytest.raises(DatasetError, match="other classes") as caught:
        evaluate_artifact(toy, Pictures(pictures.samples, other))
    assert caught.value.got == "3 of 'other': x, y, z"  # all of them, so no "..."
    assert caught.value.fix.startswith("train a network on it: bisenet-edge train --model ")
    void = Sample("void", pictures[0].image, np.full(SIZE.hw, 255, np.uint8))
    with pytest.raises(DatasetError, match="no pixel"):
        evaluate_artifact(toy, Pictures((void,)), "fp32", EngineOptions("openvino"))


def test_pictures_are_read_ahead_in_order_and_an_error_arrives_where_it_belongs():
    threads = set()

    class Slow(Pictures):
        def __getitem__(self, index):
            threads.add(threading.get_ident())
            if index == 5:
                raise DatasetError("a picture cannot be decoded")
            return self.samples[index]

    dataset = Slow(tuple(Sample(str(i), None, None) for i in range(7)))
    reading = read_ahead(dataset)
    assert [next(reading).name for _ in range(5)] == list("01234")
    with pytest.raises(DatasetError, match="decoded"):
        next(reading)
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert [s.name for s in read_ahead(Pictures(dataset.samples[: READ_AHEAD - 1]))] == ["0"]
    assert list(read_ahead(Pictures(()))) == []


def right_in(share, hw=(24, 40)):
    """A label of two classes and a mask that is right in a share of the rows."""
    label = np.zeros(hw, np.uint8)
    label[:, hw[1] // 2 :] = 1
    mask = label.copy()
    wrong = round(hw[0] * (1 - share))
    mask[:wrong] = 1 - mask[:wrong]
    return label, mask


def offer_all(gallery, shares):
    for index, share in enumerate(shares):
        label, mask = right_in(share)
        image = np.full((*label.shape, 3), 90, np.uint8)
        gallery.offer(index, Sample(f"p{index}", image, label), mask, Confusion.of(label, mask, 3))


def test_the_gallery_keeps_the_best_and_the_worst():
    shares = np.random.default_rng(0).permutation(np.arange(1, 21) / 24)
    gallery = Gallery(LABELS)
    offer_all(gallery, shares)
    order = np.argsort(shares)
    assert [shown.name for shown in gallery.worst] == [f"p{i}" for i in order[:SHOWN]]
    assert [shown.name for shown in gallery.best] == [f"p{i}" for i in order[::-1][:SHOWN]]


@pytest.mark.parametrize(("count", "worst", "best"), [(0, 0, 0), (1, 1, 0), (2, 1, 1), (5, 3, 2), (8, 4, 4)])
def test_a_few_pictures_are_shared_out(count, worst, best):
    gallery = Gallery(LABELS)
    offer_all(gallery, np.arange(1, count + 1) / 24)
    assert (len(gallery.worst), len(gallery.best)) == (worst, best)


def test_a_picture_without_labels_is_not_shown():
    gallery = Gallery(LABELS)
    void = np.full((8, 8), 255, np.uint8)
    gallery.offer(0, Sample("void", np.zeros((8, 8, 3), np.uint8), void), void * 0, Confusion.empty(3))
    assert gallery.kept == []


def test_the_pictures_show_frame_label_mask_and_errors(tmp_path):
    label, mask = right_in(0.5)
    label[-6:, :6] = 255
    image = np.full((*label.shape, 3), (200, 30, 30), np.uint8)
    gallery = Gallery(LABELS)
    gallery.offer(0, Sample("p", image, label), mask, Confusion.of(label, mask, 3))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "evaluation-best-3.jpg").write_bytes(b"of an older run")
    frames = gallery.write(tmp_path, "evaluation")
    assert frames["best"] == []
    (told,) = frames["worst"]
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["evaluation-worst-0.jpg"]
    assert told["miou"] == pytest.approx(Confusion.of(label, mask, 3).miou(), abs=1e-6)
    drawn = cv2.imread(str(tmp_path / told["file"])).astype(int)
    assert drawn.shape == (2 * 24 + 4, 2 * 40 + 4, 3)
    right, below = 44, 28

    def near(y, x, colour):
        return np.abs(drawn[y, x] - colour).max() < 40  # JPEG

    assert near(12, 20, (200, 30, 30))
    assert near(6, right + 8, (0, 0, 0))
    assert near(6, right + 32, (128, 128, 128))
    assert near(below + 4, 8, (128, 128, 128))  # the mask is wrong above
    assert near(below + 18, 8, (0, 0, 0))
    assert near(below + 4, right + 20, (40, 40, 235))
    assert drawn[below + 16, right + 30].min() > 100  # right: pale
    assert near(below + 22, right + 2, (0, 0, 0))


def test_a_large_picture_is_drawn_small():
    gallery = Gallery(LABELS)
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (600, 900)).astype(np.uint8)
    image = rng.integers(0, 256, (600, 900, 3), np.uint8)
    gallery.offer(0, Sample("p", image, label), label, Confusion.of(label, label, 3))
    (shown,) = gallery.kept
    assert len(shown.jpeg) < 400_000  # noise is the worst that JPEG can meet
    assert cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (378, 564, 3)


def test_anything_that_makes_masks_can_be_evaluated(pictures):
    result = evaluate(
        lambda samples: ((one, np.where(one.label == 255, 0, one.label)) for one in samples),
        pictures,
        Subject("oracle", "fp32", "none"),
        Method(),
    )
    assert result.confusion.miou() == result.confusion.pixel_accuracy() == 1.0
