from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from graphopt.report.scatter import Spot, scatter

SVG = "{http://www.w3.org/2000/svg}"


def test_every_point_lies_in_the_picture_where_it_should() -> None:
    spots = [Spot(1, 0.5, "a & <b>"), Spot(2, 0.7), Spot(3, 0.9)]
    root = ElementTree.fromstring(scatter("title", "ms", "top1", spots, spots[:2], chosen=spots[2], start=Spot(9, 1.0)))
    circles = root.findall(f"{SVG}circle")
    assert len(circles) == 3 + 2 + 2
    places = [(float(circle.attrib["cx"]), float(circle.attrib["cy"])) for circle in circles]
    assert all(0 < across < float(root.attrib["width"]) and 0 < down < float(root.attrib["height"]) for across, down in places)
    assert places[0][0] < places[1][0] < places[2][0]
    assert places[0][1] > places[1][1] > places[2][1]
    title = circles[0].find(f"{SVG}title")
    assert title is not None
    assert title.text == "a & <b>"


def test_the_legend_says_what_is_there_in_the_same_colors() -> None:
    spots = [Spot(1, 0.5), Spot(2, 0.7), Spot(3, 0.9)]
    root = ElementTree.fromstring(scatter("title", "ms", "top1", spots, spots[:2], chosen=spots[2], start=Spot(9, 1.0)))
    assert {"tried", "the front", "the original", "chosen"} <= {text.text for text in root.findall(f"{SVG}text")}
    drawn = {circle.attrib["fill"] for circle in root.findall(f"{SVG}circle")}
    explained = [circle.attrib["fill"] for circle in root.findall(f"{SVG}g/{SVG}circle")]
    assert set(explained) == drawn
    assert len(explained) == len(drawn) == 4
    bare = ElementTree.fromstring(scatter("", "", "", spots, []))
    assert [text.text for text in bare.findall(f"{SVG}text") if text.text in ("tried", "the front", "the original", "chosen")] == ["tried"]


def test_points_that_are_all_the_same() -> None:
    ElementTree.fromstring(scatter("", "", "", [Spot(0, 0)], []))
    ElementTree.fromstring(scatter("", "", "", [], []))
