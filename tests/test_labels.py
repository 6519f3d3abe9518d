from __future__ import annotations

import json

import numpy as np
import pytest

from bisenet_edge.errors import ConfigError
from bisenet_edge.labels import CAMVID, CITYSCAPES, COCO_STUFF, LabelSet


@pytest.mark.parametrize(("labels", "classes"), [(CAMVID, 11), (CITYSCAPES, 19)])
def test_the_two_usual_label_sets(labels, classes):
    assert len(labels) == classes
    assert len(set(labels.names)) == classes
    assert len(set(labels.palette)) == classes


def test_the_order_is_that_of_the_files():
    assert CAMVID.names[3] == "road"
    assert CAMVID.names[8] == "car"
    assert CITYSCAPES.names[0] == "road"
    assert CITYSCAPES.names[18] == "bicycle"


def test_colours_are_turned_to_bgr_and_unknown_ids_are_black():
    table = CAMVID.bgr_table()
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert table[4].tolist() == [222, 40, 60]  # pavement is (60, 40, 222) in RGB
    assert not table[11:].any()


def test_round_trip_through_json():
    assert LabelSet.from_json(json.loads(json.dumps(CITYSCAPES.to_json()))) == CITYSCAPES


@pytest.mark.parametrize(("names", "colours"), [(0, 0), (2, 1), (255, 255)])
def test_unusable_label_sets_are_refused(names, colours):
    with pytest.raises(ConfigError, match="'odd' is not usable"):
        LabelSet("odd", ("c",) * names, ((0, 0, 0),) * colours)


def test_254_classes_leave_255_to_the_ignore_index():
    assert len(LabelSet("many", ("c",) * 254, ((0, 0, 0),) * 254)) == 254


def test_coco_stuff_has_92_classes():
    assert len(COCO_STUFF) == len(set(COCO_STUFF.names)) == 92
    assert COCO_STUFF.names[-1] == "unlabeled"
