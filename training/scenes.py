"""What stands in the world beside the robot, per scene, as figures; the floor is always there.

Figures of HumanoidBench (MIT, (c) 2024 Robot Learning Lab, UC Berkeley), written as the rules they
follow. Static things stand in the world body, whatever nests them upstream; that moves nothing.
`training.physics` compiles them. Knows no robot but the height it starts at, and no reward.
"""

from __future__ import annotations

from dataclasses import dataclass

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Geom:
    """One geom in the frame of the world or of its body; sizes in MuJoCo's way (half lengths), m.

    Solid geoms touch everything; what is not solid is only there to be seen. Without a colour a
    solid geom is not drawn.
    """

    type: str
    size: Vector
    position: Vector  # m
    name: str = ""
    rgba: Vector | None = None
    solid: bool = True
    mesh: str = ""  # key of Scene.meshes, for type "mesh"


@dataclass(frozen=True)
class Body:
    """A thing of its own; of a free one pose and velocity are appended to the state."""

    name: str
    position: Vector  # m, of its frame and at the start
    geoms: tuple[Geom, ...]
    mass: float = 1.0  # kg; of a body that is not free it means nothing
    centre: Vector = (0.0, 0.0, 0.0)  # m, of mass
    axes: Vector = (1.0, 0.0, 0.0, 0.0)  # quaternion wxyz of the principal axes
    inertia: Vector = (1.0, 1.0, 1.0)  # kg m^2
    free: bool = True


@dataclass(frozen=True)
class Touch:
    """A contact that counts: between a geom whose name begins so and any that is not allowed."""

    name: str
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """The things beside the robot, where its pelvis starts, what is noticed of them."""

    geoms: tuple[Geom, ...] = ()
    bodies: tuple[Body, ...] = ()
    meshes: tuple[tuple[str, tuple[Vector, ...]], ...] = ()  # (name, vertices)
    pelvis: Vector = (0.0, 0.0, 0.98, 1.0, 0.0, 0.0, 0.0)  # m, quaternion wxyz
    touches: tuple[Touch, ...] = ()
    reading: tuple[str, str] | None = None  # MuJoCo sensor of three numbers, and the body it reads
    camera: tuple[Vector, Vector, float] = ((0.5, 0.0, 0.9), (-120.0, -14.0), 4.2)
    # where a picture looks (m), azimuth and elevation (deg), distance (m); nothing else uses it

    @property
    def start(self) -> Vector:
        """Poses of the free bodies at the start, 7 numbers each."""
        free = [body.position for body in self.bodies if body.free]
        return tuple(number for position in free for number in (*position, 1.0, 0.0, 0.0, 0.0))


def box(size: Vector, position: Vector, name: str = "", rgba: Vector | None = None) -> Geom:
    """Return a solid box of the given half sizes."""
    return Geom("box", size, position, name, rgba)


def _hurdle() -> Scene:
    bars = [box((0.03, 5.0, 0.1875), (7.0 * k, 0.0, 0.1875)) for k in range(1, 11)]
    pale, dark = (0.1, 0.1, 0.1, 0.1), (0.1, 0.1, 0.1, 1.0)
    walls = [
        box((35.5, 0.275, 1.0), (35.0, -4.725, 1.0), "left_barrier_collision", pale),
        box((35.5, 0.275, 1.0), (35.0, 4.725, 1.0), "right_barrier_collision", pale),
        box((0.05, 5.0, 1.0), (-0.525, 0.0, 1.0), "behind_barrier_collision", pale),
    ]
    frame = (
        ((0.15, 0.01, 0.01), (-0.1, -0.47, 0.01)),
        ((0.15, 0.01, 0.01), (-0.1, 0.47, 0.01)),
        ((0.01, 0.01, 0.2), (0.0, -0.47, 0.2)),
        ((0.01, 0.01, 0.2), (0.0, 0.47, 0.2)),
        ((0.01, 0.45, 0.03), (0.0, 0.0, 0.34)),
    )
    frames = [
        Geom("box", size, (7.0 * k + x, lane + y, z), rgba=dark, solid=False)
        for k in range(1, 11)
        for lane in range(-4, 5)
        for size, (x, y, z) in frame
    ]
    return Scene(
        geoms=(*bars, *walls, *frames),
        touches=tuple(Touch(wall.name) for wall in walls),
        camera=((4.0, 0.0, 0.5), (140.0, -20.0), 8.0),
    )


def _crawl() -> Scene:
    glass = (0.5, 0.5, 0.5, 0.3)
    return Scene(
        geoms=(
            box((8.0, 0.2, 0.775), (10.2, -1.35, 0.775), "left_wall", glass),
            box((8.0, 0.2, 0.775), (10.2, 1.35, 0.775), "right_wall", glass),
            box((8.0, 1.15, 0.2), (10.2, 0.0, 1.35), "ceiling", glass),
        ),
        camera=((3.0, 0.0, 0.8), (140.0, -20.0), 8.0),
    )


# Rows of cells 1.5 m wide from y = 7.5 down, columns from x = -1.5 up.
MAZE = ("#######", "#..2.3#", "###.#.#", "#.....#", "#.#.###", "#S.1..#", "#######")


def _maze() -> Scene:
    glass = (0.4, 0.4, 0.4, 0.3)
    blocks = [
        box(
            (0.75, 0.75, 0.6),
            (-1.5 + 1.5 * column, 7.5 - 1.5 * row, 0.6),
            f"block_collision_{row}{column}",
            glass,
        )
        for row, cells in enumerate(MAZE)
        for column, cell in enumerate(cells)
        if cell == "#"
    ]
    marks = [
        Geom("sphere", (0.05,), (x, y, 1.0), f"intersection_{letter}", (0, 0, 0, 1), solid=False)
        for letter, (x, y) in zip("abcd", ((0, 0), (3, 0), (3, 6), (6, 6)), strict=True)
    ]
    return Scene(
        geoms=(*marks, *blocks),
        touches=(Touch("block_collision_"),),
        reading=("framepos", "pelvis"),
        camera=((3.0, 3.0, 0.0), (115.0, -48.0), 13.0),
    )


def _chair(free: bool) -> Scene:
    wood = (0.72, 0.55, 0.36, 1.0)
    legs = [((0.02, 0.02, 0.225), (x, y, 0.225)) for x in (0.19, -0.19) for y in (0.19, -0.19)]
    posts = [((0.02, 0.02, 0.2125), (-0.23, y, 0.6375)) for y in (0.19, -0.19)]
    seat, top = ((0.21, 0.21, 0.025), (0, 0, 0.45)), ((0.02, 0.21, 0.08), (-0.23, 0, 0.77))
    seen = [
        Geom("box", size, position, rgba=wood, solid=False)
        for size, position in (*legs, seat, *posts, top)
    ]
    solid = (box((0.02, 0.21, 0.2), (-0.23, 0, 0.65)), box((0.21, 0.21, 0.2375), (0, 0, 0.2375)))
    chair = Body(
        name="chair",
        position=(-0.25, 0.0, 0.0),
        geoms=(*seen, *solid),
        mass=15.748,  # upstream's, of the boxes that are only seen, at 1000 kg/m^3
        centre=(-0.0591211582, 0.0, 0.4796647193),
        axes=(0.9493954498, 0.0, -0.3140832371, 0.0),
        inertia=(1.024485313, 0.9252890332, 0.5463975869),
        free=free,
    )
    camera = ((0.0, 0.0, 0.8), (-140.0, -14.0), 3.6)
    return Scene(bodies=(chair,), reading=("framepos", "chair"), camera=camera)


def _balance(free: bool) -> Scene:
    ball = Geom("sphere", (0.17,), (0, 0, 0), "pivot_sphere_collision", (0.3, 0.3, 0.3, 1.0))
    plank = box((0.15, 0.55, 0.03), (0, 0, 0), "stand_board_collision", (0.7, 0.7, 0.7, 1.0))
    board = Body(
        name="stand_board",
        position=(0.0, 0.0, 0.37),
        geoms=(plank,),
        mass=19.8,
        axes=(0.5, 0.5, -0.5, 0.5),
        inertia=(2.145, 2.00244, 0.15444),
    )
    pivot = Body(
        name="rolling_pivot",
        position=(0.0, 0.0, 0.17),
        geoms=(ball,),
        mass=20.57952628,
        inertia=(0.2378993238,) * 3,
    )
    fixed = Geom(ball.type, ball.size, pivot.position, ball.name, ball.rgba)
    return Scene(
        geoms=() if free else (fixed,),
        bodies=(board, pivot) if free else (board,),
        pelvis=(-0.1, 0.0, 1.38, 1.0, 0.0, 0.0, 0.0),
        touches=(Touch(ball.name, ("floor", plank.name)), Touch("floor", (ball.name,))),
        camera=((0.0, 0.0, 1.0), (-140.0, -14.0), 4.4),
    )


def _stair() -> Scene:
    grey = (0.5, 0.5, 0.52, 1.0)  # darker than upstream, whose light is weaker
    walls = (
        box((15.5, 0.1, 2.0), (13.5, -5.05, 2.0)),
        box((15.5, 0.1, 2.0), (13.5, 5.05, 2.0)),
        box((0.1, 7.25, 2.0), (-2.1, 0.0, 2.0)),
    )
    layers = [
        box(
            (2.7 - 0.6 * layer, 5.0, 0.09),
            (3.2 + 6.0 * k, 0.0, 0.09 + 0.18 * layer),
            f"stair_{50 - 10 * k}_layer_{layer}",
            grey,
        )
        for k in range(4)
        for layer in range(5)
    ]
    return Scene(geoms=(*walls, *layers), camera=((2.0, 0.0, 0.8), (130.0, -14.0), 7.5))


def _slide() -> Scene:
    walls = (
        box((53.0, 0.15, 4.0), (48.85, -5.15, 4.0)),
        box((53.0, 0.15, 4.0), (48.85, 5.15, 4.0)),
        box((0.15, 5.15, 4.0), (-4.0, 0.0, 4.0)),
    )
    prism = tuple((x, y, z) for x, z in ((0.3, 0), (5.3, 1.75), (10.3, 0)) for y in (5, -5))
    ridges = [
        Geom("mesh", (), (10.0 * k, 0.0, 0.0), rgba=(0.6, 0.6, 0.6, 1.0), mesh="slide")
        for k in range(9)
    ]
    return Scene(
        geoms=(*walls, *ridges),
        meshes=(("slide", prism),),
        camera=((3.5, 0.0, 0.7), (105.0, -16.0), 10.0),
    )


def _pole() -> Scene:
    glass = (0.9, 0.9, 0.9, 0.2)
    walls = (
        box((20.75, 0.15, 1.0), (20.0, -3.15, 1.0), "left_barrier", glass),
        box((20.75, 0.15, 1.0), (20.0, 3.15, 1.0), "right_barrier", glass),
        box((0.15, 3.0, 1.0), (-0.6, 0.0, 1.0), "behind_barrier", glass),
    )
    rows = {1: (2.25, 0.75, -0.75, -2.25), 0: (1.5, 0.0, -1.5)}
    poles = [
        Geom("cylinder", (0.05, 1.0), (k, y, 1.0), f"pole_r{k}_c{column}", (0.1, 0.1, 0.1, 1.0))
        for k in range(1, 42)
        for column, y in enumerate(rows[k % 2], start=1)
    ]
    return Scene(
        geoms=(*walls, *poles),
        touches=(Touch("pole_r", ("floor",)),),
        camera=((3.0, 0.0, 0.7), (150.0, -24.0), 8.0),
    )


SCENES: dict[str, Scene] = {
    "floor": Scene(),
    "reach": Scene(reading=("framezaxis", "pelvis")),
    "hurdle": _hurdle(),
    "crawl": _crawl(),
    "maze": _maze(),
    "sit_simple": _chair(free=False),
    "sit_hard": _chair(free=True),
    "balance_simple": _balance(free=False),
    "balance_hard": _balance(free=True),
    "stair": _stair(),
    "slide": _slide(),
    "pole": _pole(),
}
