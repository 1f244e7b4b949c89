"""Scenes against HumanoidBench's own figures, read from its compiled models."""

import json
from pathlib import Path

import mujoco
import numpy as np
import pytest

from training.assembly import SCENE_SENSOR, build_model, touch_table
from training.scenes import SCENES
from training.tasks import TASKS

FILE = Path(__file__).parents[1] / "golden" / "humanoidbench_scenes.json"
FIGURES = json.loads(FILE.read_text())["scenes"]


def rows(geoms, kinds):
    """Figures of the geoms of these kinds as comparable tuples."""
    return sorted(
        (name, kind, () if kind == "mesh" else tuple(size), tuple(position))
        for what, name, kind, size, position, *_ in geoms
        if what in kinds
    )


def ours(geoms, solid):
    return sorted(
        (geom.name, geom.type, tuple(geom.size), tuple(geom.position))
        for geom in geoms
        if geom.solid == solid
    )


@pytest.mark.parametrize("name", TASKS)
def test_what_stands_in_the_world_is_what_the_benchmark_puts_there(name):
    scene, figures = SCENES[TASKS[name].scene], FIGURES[name]
    np.testing.assert_equal(scene.pelvis, figures["key_pelvis"])
    np.testing.assert_allclose(scene.start, figures["key_extra"])
    mine, theirs = ours(scene.geoms, True), rows(figures["world_geoms"], {"c", "cv"})
    assert [row[:2] for row in mine] == [row[:2] for row in theirs]
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a[2], b[2], atol=1e-12)
        np.testing.assert_allclose(a[3], b[3], atol=1e-12)
    for key, vertices in scene.meshes:
        np.testing.assert_allclose(vertices, figures["meshes"][key])


@pytest.mark.parametrize("name", TASKS)
def test_bodies_weigh_and_look_like_the_benchmarks(name):
    scene, figures = SCENES[TASKS[name].scene], FIGURES[name]
    assert [body.name for body in scene.bodies] == [body["name"] for body in figures["bodies"]]
    for body, expected in zip(scene.bodies, figures["bodies"], strict=True):
        assert body.free == (expected["free"] is not None)
        assert ours(body.geoms, True) == rows(expected["geoms"], {"c", "cv"})
        assert ours(body.geoms, False) == rows(expected["geoms"], {"v"})
        if body.free:
            assert body.mass == expected["mass"]
            np.testing.assert_allclose(body.centre, expected["ipos"])
            np.testing.assert_allclose(body.axes, expected["iquat"])
            np.testing.assert_allclose(body.inertia, expected["inertia"])


@pytest.mark.parametrize("name", SCENES)
def test_every_scene_compiles_with_the_robots_mass_first_and_its_things_behind(name):
    model, scene = build_model(name), SCENES[name]
    free = sum(body.free for body in scene.bodies)
    assert (model.nq, model.nv, model.nu) == (26 + 7 * free, 25 + 6 * free, 19)
    assert model.body("pelvis").subtreemass[0] == pytest.approx(51.649896, abs=1e-6)
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.qpos[:7], scene.pelvis)
    np.testing.assert_allclose(data.qpos[26:], scene.start)
    if scene.reading:
        kind, body = scene.reading
        expected = data.body(body).xpos if kind == "framepos" else data.body(body).xmat[2::3]
        np.testing.assert_allclose(data.sensor(SCENE_SENSOR).data, expected)


@pytest.mark.parametrize("name", SCENES)
def test_pictures_have_the_same_physics(name):
    plain, seen = build_model(name), build_model(name, visual=True)
    assert seen.ngeom > plain.ngeom
    solid = seen.geom_contype > 0
    assert solid.sum() == (plain.geom_contype > 0).sum()
    np.testing.assert_allclose(seen.geom_pos[solid], plain.geom_pos[plain.geom_contype > 0])


def touching(name, first, second):
    model = build_model(name)
    table = touch_table(model, SCENES[name])
    assert (table == table.T).all()
    return bool(table[model.geom(first).id, model.geom(second).id])


def robot_geom(name):
    model = build_model(name)
    body = model.body("left_knee_link").id
    return model.geom(int(np.flatnonzero(model.geom_bodyid == body)[0])).id


def test_poles_count_but_not_on_the_floor_and_barriers_do_not():
    knee = robot_geom("pole")
    assert touching("pole", "pole_r7_c2", knee)
    assert not touching("pole", "pole_r7_c2", "floor")
    assert not touching("pole", "left_barrier", knee)


def test_on_the_board_only_floor_and_sphere_sphere_and_board_may_meet():
    knee = robot_geom("balance_hard")
    assert not touching("balance_hard", "pivot_sphere_collision", "floor")
    assert not touching("balance_hard", "pivot_sphere_collision", "stand_board_collision")
    assert not touching("balance_hard", "stand_board_collision", knee)
    assert touching("balance_hard", "pivot_sphere_collision", knee)
    assert touching("balance_hard", "floor", knee)
    assert touching("balance_hard", "floor", "stand_board_collision")


def test_hurdles_walls_count_and_its_bars_do_not():
    model, knee = build_model("hurdle"), robot_geom("hurdle")
    table = touch_table(model, SCENES["hurdle"])
    walls = {model.geom(index).name for index in np.flatnonzero(table[knee])}
    assert walls == {f"{side}_barrier_collision" for side in ("left", "right", "behind")}


def test_an_unknown_scene_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=r"moon.*floor"):
        build_model("moon")
