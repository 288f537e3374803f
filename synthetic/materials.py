"""Parameters of the materials of Greatest Hits: their sound when struck, the things made of them and their reactions.

Wave speeds of rods, sqrt(E / ρ), from tables: steel 5000 to 5200, aluminium 5000, cast iron 4480, copper 3750, brass
3480, Pyrex 5170, flint glass 3720, polystyrene 2240, acrylic 1840, nylon 1800, polyethylene 920 m/s (CRC Handbook of
Chemistry and Physics, "Speed of sound in various media"); wood 3300 to 5000 along the grain and a fifth to a third of
that across it, brick 3600 to 4200, glass from 3950 (The Engineering ToolBox, "Speed of sound in common solids");
plywood 3240, chipboard 2820, plasterboard 1710, each within 10 %, from 0.551 × 343² divided by the product of thickness
and critical frequency in Architectural Acoustics, table 9.1, after Beranek 1971, Cremer et al. 1973 and Fahy 1985.

Loss factors from tables: steel 0.00002 to 0.0003, iron to 0.0006, brass to 0.001, copper 0.002 (Irvine, "Damping
properties of materials", rev. C, 2004); granite 1 / 150 from 140 to 4500 Hz ("Elasticity and internal friction in a
long column of granite", abstract). The model treats internal friction as a property of the material, so decay times
fall as 1 / frequency: Wildes & Richards, "Recovering material properties from sound", 1988, tested by ear in Klatzky,
Pai & Krotkov, "Perception of material from contact sounds", Presence 9(4), 2000. `synthetic.measures` holds published
measurements of the modes of everyday objects.

All other values are choices of this project, in the order of neighbouring table values: the remaining wave speeds and
loss factors (wood, glass, ceramic, tile, plastic, drywall, and everything soft or loose), damping by supports, levels,
bands, grains, shapes and reactions. Contact times follow Hertz: 0.08 to 0.2 ms for a stick's tip (radius 4 mm, moving
mass 1.5 to 2.5 g, 1 to 3 GPa, 1 to 4 m/s) on a hard surface, and longer on softer surfaces.
"""

from dataclasses import dataclass, field

Range = tuple[float, float]


@dataclass(frozen=True)
class Material:
    """Parameters of one material. Each object draws its values from the ranges, uniformly on a logarithmic scale.

    Args:
        wave_speed_m_s: Longitudinal wave speed sqrt(E / ρ).
        loss_factor: Internal friction η: a mode of frequency f decays by exp(-π η f t).
        support_damping_per_s: Decay rate that the supports add to every mode.
        contact_ms: Contact time of the strongest hit with a wooden stick.
        ring_db: Level of the modes. All levels down to `stick_db` are relative to the loudest of these parts.
        thud_db: Level of the thud: broad-band noise of the contact.
        grain_db: Level of the grains: many small collisions, crackling, bubbles. None: no grains.
        stick_db: Level of the stick's own modes.
        thud_band_hz: Lower and upper edge of the thud.
        thud_decay_ms: Time constant of the thud.
        grain_hz: Resonances of the grains.
        grain_spread_s: Time constant with which the grains thin out.
        grain_count: Number of grains that the strongest hit triggers.
        grain_quality: Quality factor of their resonances: 1 crackles, 10 clacks.
        level_db: Loudness relative to other materials.
        roughness_mm: Distance between the bumps that a scratch meets.
        shapes: Shapes of things made of it, with weights; see `synthetic.shapes`.
        reactions: Reactions to a hit, with weights.
    """

    wave_speed_m_s: Range
    loss_factor: Range
    support_damping_per_s: Range
    contact_ms: Range
    ring_db: Range
    thud_db: Range
    grain_db: Range | None
    stick_db: Range
    thud_band_hz: Range
    thud_decay_ms: Range
    grain_hz: Range = (1000, 6000)
    grain_spread_s: Range = (0.05, 0.15)
    grain_count: Range = (40, 120)
    grain_quality: Range = (1, 3)
    level_db: float = 0.0
    roughness_mm: Range = (0.2, 1.0)
    shapes: dict[str, float] = field(default_factory=dict)
    reactions: dict[str, float] = field(default_factory=dict)


# fmt: off
MATERIALS = {
    "wood": Material(
        wave_speed_m_s=(2000, 4500), loss_factor=(0.004, 0.02), support_damping_per_s=(18, 110),
        contact_ms=(0.12, 0.4), ring_db=(-4, 0), thud_db=(-12, -4), grain_db=None, stick_db=(-10, -2), level_db=0,
        thud_band_hz=(500, 9000), thud_decay_ms=(2, 7), roughness_mm=(0.3, 1.2),
        shapes={"ground": 3, "slab": 3, "cylinder": 1, "rail": 1, "wall": 1},
        reactions={"static": 8, "rigid-motion": 2},
    ),
    "metal": Material(
        wave_speed_m_s=(3400, 5200), loss_factor=(0.0001, 0.002), support_damping_per_s=(0.8, 40),
        contact_ms=(0.07, 0.2), ring_db=(0, 0), thud_db=(-22, -8), grain_db=None, stick_db=(-22, -10), level_db=3,
        thud_band_hz=(2000, 15000), thud_decay_ms=(2, 6), roughness_mm=(0.08, 0.4),
        shapes={"cylinder": 2, "vessel": 2, "disc": 1, "rail": 3, "slab": 1},
        reactions={"static": 7, "rigid-motion": 3},
    ),
    "glass": Material(
        wave_speed_m_s=(3800, 5200), loss_factor=(0.0003, 0.001), support_damping_per_s=(1, 8),
        contact_ms=(0.07, 0.2), ring_db=(0, 0), thud_db=(-22, -8), grain_db=None, stick_db=(-20, -10), level_db=1,
        thud_band_hz=(2500, 16000), thud_decay_ms=(1, 4), roughness_mm=(0.05, 0.2),
        shapes={"cylinder": 3, "vessel": 2, "slab": 1},
        reactions={"static": 7, "rigid-motion": 3},
    ),
    "ceramic": Material(
        wave_speed_m_s=(3600, 5200), loss_factor=(0.001, 0.006), support_damping_per_s=(15, 150),
        contact_ms=(0.07, 0.2), ring_db=(0, 0), thud_db=(-12, -3), grain_db=None, stick_db=(-16, -8), level_db=1,
        thud_band_hz=(2500, 16000), thud_decay_ms=(1, 5), roughness_mm=(0.1, 0.4),
        shapes={"vessel": 4, "disc": 2},
        reactions={"static": 7, "rigid-motion": 3},
    ),
    "plastic": Material(
        wave_speed_m_s=(900, 2250), loss_factor=(0.02, 0.07), support_damping_per_s=(25, 140),
        contact_ms=(0.25, 0.9), ring_db=(-3, 0), thud_db=(-10, -2), grain_db=None, stick_db=(-14, -6), level_db=-2,
        thud_band_hz=(300, 8000), thud_decay_ms=(3, 10), roughness_mm=(0.2, 0.8),
        shapes={"cylinder": 2, "vessel": 2, "slab": 2, "drum": 2, "disc": 1, "blob": 1},
        reactions={"static": 4, "rigid-motion": 4, "deform": 2},
    ),
    "plastic-bag": Material(
        wave_speed_m_s=(800, 1100), loss_factor=(0.1, 0.3), support_damping_per_s=(120, 300),
        contact_ms=(2, 6), ring_db=(-18, -11), thud_db=(-12, -5), grain_db=(-4, 0), stick_db=(-26, -18), level_db=-8,
        thud_band_hz=(200, 7000), thud_decay_ms=(6, 15), roughness_mm=(0.5, 2),
        grain_hz=(2500, 10000), grain_spread_s=(0.08, 0.25),
        grain_count=(50, 200), grain_quality=(1.5, 5),
        shapes={"blob": 3, "sheet": 1},
        reactions={"deform": 9, "rigid-motion": 1},
    ),
    "cloth": Material(
        wave_speed_m_s=(100, 400), loss_factor=(0.2, 0.5), support_damping_per_s=(90, 260),
        contact_ms=(1.5, 8), ring_db=(-3, 0), thud_db=(-5, 0), grain_db=(-24, -14), stick_db=(-26, -18), level_db=-9,
        thud_band_hz=(80, 3000), thud_decay_ms=(8, 25), roughness_mm=(0.4, 1.5),
        grain_hz=(800, 3000), grain_spread_s=(0.02, 0.06),
        shapes={"blob": 3, "sheet": 3},
        reactions={"deform": 8, "static": 2},
    ),
    "carpet": Material(
        wave_speed_m_s=(100, 500), loss_factor=(0.15, 0.4), support_damping_per_s=(70, 220),
        contact_ms=(1.5, 6), ring_db=(-2, 0), thud_db=(-6, 0), grain_db=(-28, -18), stick_db=(-24, -14), level_db=-7,
        thud_band_hz=(60, 2500), thud_decay_ms=(6, 20), roughness_mm=(0.8, 2.5),
        grain_hz=(1000, 4000), grain_spread_s=(0.02, 0.05),
        shapes={"ground": 4, "sheet": 1},
        reactions={"static": 9, "deform": 1},
    ),
    "paper": Material(
        wave_speed_m_s=(800, 2000), loss_factor=(0.05, 0.2), support_damping_per_s=(120, 350),
        contact_ms=(0.8, 2.5), ring_db=(-10, -4), thud_db=(-6, 0), grain_db=(-8, -2), stick_db=(-20, -12), level_db=-6,
        thud_band_hz=(300, 7000), thud_decay_ms=(3, 10), roughness_mm=(0.2, 0.8),
        grain_hz=(1800, 7000), grain_spread_s=(0.02, 0.08),
        grain_count=(15, 60), grain_quality=(1, 3),
        shapes={"sheet": 3, "blob": 1, "slab": 2},
        reactions={"deform": 6, "static": 3, "rigid-motion": 1},
    ),
    "leaf": Material(
        wave_speed_m_s=(300, 900), loss_factor=(0.1, 0.3), support_damping_per_s=(150, 350),
        contact_ms=(1.5, 5), ring_db=(-18, -10), thud_db=(-14, -6), grain_db=(-3, 0), stick_db=(-24, -14), level_db=-9,
        thud_band_hz=(400, 7000), thud_decay_ms=(4, 14), roughness_mm=(0.8, 3),
        grain_hz=(2500, 10000), grain_spread_s=(0.06, 0.22),
        grain_count=(40, 150), grain_quality=(0.8, 2),
        shapes={"bush": 4, "ground": 2},
        reactions={"deform": 6, "scatter": 3, "static": 1},
    ),
    "grass": Material(
        wave_speed_m_s=(200, 600), loss_factor=(0.2, 0.4), support_damping_per_s=(110, 280),
        contact_ms=(2, 7), ring_db=(-6, -1), thud_db=(-8, -2), grain_db=(-7, -1), stick_db=(-26, -16), level_db=-9,
        thud_band_hz=(80, 2500), thud_decay_ms=(8, 22), roughness_mm=(1, 4),
        grain_hz=(2000, 8000), grain_spread_s=(0.04, 0.14),
        grain_count=(60, 200), grain_quality=(0.7, 1.5),
        shapes={"ground": 4, "bush": 1},
        reactions={"deform": 5, "static": 4, "scatter": 1},
    ),
    "gravel": Material(
        wave_speed_m_s=(3500, 5500), loss_factor=(0.01, 0.03), support_damping_per_s=(150, 400),
        contact_ms=(0.3, 1), ring_db=(-16, -8), thud_db=(-16, -8), grain_db=(-2, 0), stick_db=(-18, -10), level_db=-3,
        thud_band_hz=(200, 5000), thud_decay_ms=(5, 15), roughness_mm=(2, 6),
        grain_hz=(1500, 7000), grain_spread_s=(0.05, 0.2),
        grain_count=(30, 110), grain_quality=(3, 9),
        shapes={"ground": 3, "pile": 2},
        reactions={"scatter": 6, "static": 4},
    ),
    "dirt": Material(
        wave_speed_m_s=(150, 500), loss_factor=(0.15, 0.4), support_damping_per_s=(80, 220),
        contact_ms=(2, 7), ring_db=(-3, 0), thud_db=(-6, -1), grain_db=(-14, -4), stick_db=(-24, -14), level_db=-7,
        thud_band_hz=(60, 1500), thud_decay_ms=(8, 22), roughness_mm=(1, 4),
        grain_hz=(600, 3500), grain_spread_s=(0.04, 0.15),
        grain_count=(20, 90), grain_quality=(0.7, 2),
        shapes={"ground": 3, "blob": 1},
        reactions={"static": 5, "scatter": 4, "deform": 1},
    ),
    "rock": Material(
        wave_speed_m_s=(3500, 5500), loss_factor=(0.004, 0.02), support_damping_per_s=(60, 250),
        contact_ms=(0.07, 0.2), ring_db=(-5, 0), thud_db=(-10, -3), grain_db=None, stick_db=(-8, -2), level_db=0,
        thud_band_hz=(1000, 12000), thud_decay_ms=(2, 7), roughness_mm=(0.5, 2),
        shapes={"blob": 5, "ground": 1, "slab": 1},
        reactions={"static": 9, "rigid-motion": 1},
    ),
    "tile": Material(
        wave_speed_m_s=(3600, 5200), loss_factor=(0.003, 0.01), support_damping_per_s=(30, 150),
        contact_ms=(0.07, 0.2), ring_db=(-4, 0), thud_db=(-10, -3), grain_db=None, stick_db=(-10, -3), level_db=0,
        thud_band_hz=(1000, 11000), thud_decay_ms=(2, 7), roughness_mm=(0.1, 0.6),
        shapes={"ground": 4, "wall": 2, "slab": 1},
        reactions={"static": 1},
    ),
    "drywall": Material(
        wave_speed_m_s=(1500, 1900), loss_factor=(0.01, 0.03), support_damping_per_s=(40, 110),
        contact_ms=(0.7, 1.8), ring_db=(0, 0), thud_db=(-14, -5), grain_db=None, stick_db=(-20, -11), level_db=-2,
        thud_band_hz=(70, 1500), thud_decay_ms=(8, 20), roughness_mm=(0.2, 0.8),
        shapes={"wall": 1},
        reactions={"static": 1},
    ),
    "water": Material(
        wave_speed_m_s=(300, 600), loss_factor=(0.2, 0.4), support_damping_per_s=(100, 250),
        contact_ms=(2, 6), ring_db=(-22, -14), thud_db=(-8, -2), grain_db=(-4, 0), stick_db=(-24, -16), level_db=-4,
        thud_band_hz=(150, 4000), thud_decay_ms=(12, 45), roughness_mm=(2, 8),
        grain_hz=(500, 3500), grain_spread_s=(0.08, 0.3),
        grain_count=(40, 150), grain_quality=(1, 4),
        shapes={"pool": 1},
        reactions={"splash": 1},
    ),
}
# fmt: on
