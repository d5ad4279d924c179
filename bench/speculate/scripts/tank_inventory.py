"""Tanks: volume from level by a strapping table, mass by temperature, and what moved in a day."""

TANKS = ["T101", "T102", "T103", "T201"]
COLUMNS = ["tank", "product", "level", "volume", "temperature", "mass", "quality"]
REFERENCE_TEMPERATURE = 15.0
EXPANSION = 0.00085


def path(tank, name):
    """The path of a tag of a tank."""
    return "[default]TankFarm/%s/%s" % (tank, name)


def strapping(tank):
    """The strapping table: lists of levels and of volumes, ascending."""
    data = system.db.runNamedQuery("Tank/Strapping", {"tank": tank})
    levels = []
    volumes = []
    for row in system.dataset.toPyDataSet(data):
        levels.append(row["level"])
        volumes.append(row["volume"])
    return levels, volumes


def interpolate(x, xs, ys):
    """The value at x on the line through the points around it; held at both ends."""
    if not xs:
        return 0.0
    if x <= xs[0]:
        return ys[0]
    for i in range(1, len(xs)):
        if x <= xs[i]:
            part = (x - xs[i - 1]) / float(xs[i] - xs[i - 1])
            return ys[i - 1] + part * (ys[i] - ys[i - 1])
    return ys[-1]


def density(product, temperature):
    """Density in kg per litre at a temperature."""
    reference = system.db.runNamedQuery("Product/Density", {"product": product})
    if reference is None:
        return 0.0
    return reference * (1.0 - EXPANSION * (temperature - REFERENCE_TEMPERATURE))


def tankRow(tank):
    """What is in one tank now."""
    names = ["Level", "Temperature", "Product"]
    level, temperature, product = system.tag.readBlocking([path(tank, n) for n in names])
    good = level.quality.isGood() and temperature.quality.isGood() and product.quality.isGood()
    if not good:
        return [tank, None, None, None, None, None, "Bad"]
    levels, volumes = strapping(tank)
    volume = interpolate(level.value, levels, volumes)
    mass = volume * density(product.value, temperature.value)
    return [tank, product.value, level.value, volume, temperature.value, mass, "Good"]


def inventory():
    """The dataset of the inventory page."""
    rows = [tankRow(tank) for tank in TANKS]
    return system.dataset.toDataSet(COLUMNS, rows)


def snapshot():
    """Keeps the inventory of this moment; returns the number of tanks with a good value."""
    data = inventory()
    count = 0
    for i in range(data.getRowCount()):
        if data.getValueAt(i, "quality") != "Good":
            continue
        params = {
            "tank": data.getValueAt(i, "tank"),
            "product": data.getValueAt(i, "product"),
            "volume": data.getValueAt(i, "volume"),
            "mass": data.getValueAt(i, "mass"),
            "t_stamp": system.date.now(),
        }
        system.db.runNamedQuery("Tank/InsertSnapshot", params)
        count += 1
    return count


def movement(tank, day):
    """Mass that came in and went out of a tank on a day."""
    params = {"tank": tank, "start": day, "end": system.date.addDays(day, 1)}
    data = system.db.runNamedQuery("Tank/Snapshots", params)
    came = 0.0
    went = 0.0
    for i in range(1, data.getRowCount()):
        change = data.getValueAt(i, "mass") - data.getValueAt(i - 1, "mass")
        if change > 0:
            came += change
        else:
            went -= change
    return came, went
