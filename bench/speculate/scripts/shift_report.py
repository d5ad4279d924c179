"""Totals of a shift: counts, downtime and scrap of each line, as a dataset for a report."""

DATABASE = "MES"
LINES = ["Line1", "Line2", "Line3"]
HEADERS = ["line", "good", "scrap", "downtime", "oee"]
SHIFT_HOURS = 8


def tagPath(line, name):
    """The full path of one tag of a line."""
    return "[default]Plant/%s/%s" % (line, name)


def readValues(paths, default=0):
    """Values of many tags in one call; `default` where the quality is bad."""
    values = []
    for result in system.tag.readBlocking(paths):
        if result.quality.isGood():
            values.append(result.value)
        else:
            values.append(default)
    return values


def shiftStart(now):
    """When the shift began that is running now."""
    midnight = system.date.midnight(now)
    hour = system.date.getHour24(now)
    return system.date.addHours(midnight, hour - hour % SHIFT_HOURS)


def downtimeMinutes(line, start, end):
    """Minutes that the line stood still between two times."""
    params = {"line": line, "start": start, "end": end}
    rows = system.db.runNamedQuery("Downtime/ByLine", params)
    minutes = 0
    for i in range(rows.getRowCount()):
        begin = rows.getValueAt(i, "t_begin")
        finish = rows.getValueAt(i, "t_end")
        if finish is None:
            finish = end
        minutes += system.date.minutesBetween(begin, finish)
    return minutes


def oee(good, scrap, downtime, ideal):
    """Availability times performance times quality, between 0 and 1."""
    planned = SHIFT_HOURS * 60.0
    running = planned - downtime
    total = good + scrap
    if running <= 0 or total == 0 or ideal <= 0:
        return 0.0
    availability = running / planned
    performance = min(1.0, total / (running * ideal))
    quality = float(good) / total
    return availability * performance * quality


def lineRow(line, start, end):
    """One row of the report."""
    names = ["GoodCount", "ScrapCount", "IdealRate"]
    good, scrap, ideal = readValues([tagPath(line, name) for name in names])
    downtime = downtimeMinutes(line, start, end)
    return [line, good, scrap, downtime, oee(good, scrap, downtime, ideal)]


def report(now=None):
    """The dataset that the report template binds to."""
    if now is None:
        now = system.date.now()
    start = shiftStart(now)
    rows = [lineRow(line, start, now) for line in LINES]
    return system.dataset.toDataSet(HEADERS, rows)


def save(now=None):
    """Writes the report of the shift to the database, one row for each line."""
    if now is None:
        now = system.date.now()
    data = report(now)
    query = "INSERT INTO shift_report (line, good, scrap, downtime, oee, t_stamp) VALUES (?, ?, ?, ?, ?, ?)"
    tx = system.db.beginTransaction(DATABASE)
    try:
        for i in range(data.getRowCount()):
            args = [data.getValueAt(i, name) for name in HEADERS]
            args.append(now)
            system.db.runPrepUpdate(query, args, tx=tx)
        system.db.commitTransaction(tx)
    except Exception:
        system.db.rollbackTransaction(tx)
        raise
    finally:
        system.db.closeTransaction(tx)
