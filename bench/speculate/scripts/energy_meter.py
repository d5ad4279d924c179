"""Energy of the plant's meters: hourly use from counters, cost by tariff, and a daily mail."""

METERS = {
    "Boiler": "[default]Energy/Boiler/kWh",
    "Chiller": "[default]Energy/Chiller/kWh",
    "Compressor": "[default]Energy/Compressor/kWh",
    "Packaging": "[default]Energy/Packaging/kWh",
}
DAY_RATE = 0.21
NIGHT_RATE = 0.14
NIGHT_BEGINS = 22
NIGHT_ENDS = 6
RECIPIENTS = ["energy@plant.local"]


def isNight(date):
    """Whether the night tariff holds at this time."""
    hour = system.date.getHour24(date)
    return hour >= NIGHT_BEGINS or hour < NIGHT_ENDS


def counterValues(start, end):
    """The counters at every full hour between two times, as a dataset with a column a meter."""
    hours = system.date.hoursBetween(start, end)
    return system.tag.queryTagHistory(
        paths=list(METERS.values()),
        startDate=start,
        endDate=end,
        returnSize=hours + 1,
        aggregationMode="LastValue",
        columnNames=list(METERS.keys()),
        ignoreBadQuality=True,
    )


def hourlyUse(data):
    """Differences of the counters: a list of [time, meter, kWh]. A counter that was reset gives 0."""
    rows = []
    for column in range(1, data.getColumnCount()):
        meter = data.getColumnName(column)
        last = None
        for i in range(data.getRowCount()):
            value = data.getValueAt(i, column)
            if value is None:
                continue
            if last is not None:
                rows.append([data.getValueAt(i, 0), meter, max(0.0, value - last)])
            last = value
    return rows


def cost(rows):
    """Money for each meter, by the tariff of each hour."""
    total = {}
    for when, meter, energy in rows:
        rate = NIGHT_RATE if isNight(when) else DAY_RATE
        total[meter] = total.get(meter, 0.0) + energy * rate
    return total


def saveUse(rows):
    """Writes hourly use to the database; returns the number of rows."""
    count = 0
    for when, meter, energy in rows:
        params = {"t_stamp": when, "meter": meter, "kwh": energy}
        count += system.db.runNamedQuery("Energy/InsertHour", params)
    return count


def mailText(day, rows):
    """The lines of the daily mail."""
    lines = ["Energy on %s" % system.date.format(day, "yyyy-MM-dd"), ""]
    money = cost(rows)
    for meter in sorted(money):
        energy = sum([row[2] for row in rows if row[1] == meter])
        lines.append("%-12s %10.1f kWh %10.2f EUR" % (meter, energy, money[meter]))
    lines.append("")
    lines.append("Total %.2f EUR" % sum(money.values()))
    return "\n".join(lines)


def runDaily():
    """What the gateway's schedule calls after midnight."""
    end = system.date.midnight(system.date.now())
    start = system.date.addDays(end, -1)
    rows = hourlyUse(counterValues(start, end))
    saveUse(rows)
    system.net.sendEmail(
        smtpProfile="Plant",
        fromAddr="scada@plant.local",
        subject="Energy report",
        body=mailText(start, rows),
        to=RECIPIENTS,
    )
