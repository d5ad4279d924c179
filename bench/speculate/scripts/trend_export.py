"""Tag history as CSV files: chosen tags, a time range, one file a day, old files deleted."""

from java.io import File

LOGGER = system.util.getLogger("TrendExport")
FOLDER = "/var/ign/exports"
KEEP_DAYS = 90
INTERVAL_MS = 60000
DATE_FORMAT = "yyyy-MM-dd HH:mm:ss"


def exportPaths():
    """The tags that are exported, from the table that the engineers edit."""
    data = system.db.runNamedQuery("Export/Tags", {"enabled": 1})
    paths = []
    names = []
    for row in system.dataset.toPyDataSet(data):
        paths.append(row["path"])
        names.append(row["name"])
    return paths, names


def history(paths, names, start, end):
    """Averages of all tags at a fixed interval."""
    return system.tag.queryTagHistory(
        paths=paths,
        columnNames=names,
        startDate=start,
        endDate=end,
        intervalMinutes=INTERVAL_MS // 60000,
        aggregationMode="Average",
        returnFormat="Wide",
        noInterpolation=True,
    )


def cell(value):
    """One value as CSV."""
    if value is None:
        return ""
    if isinstance(value, float):
        return "%.4f" % value
    text = str(value)
    if "," in text or '"' in text:
        return '"%s"' % text.replace('"', '""')
    return text


def toCsv(data):
    """A dataset as lines of text, the time in the first column."""
    header = ["time"]
    for column in range(1, data.getColumnCount()):
        header.append(data.getColumnName(column))
    lines = [",".join(header)]
    for i in range(data.getRowCount()):
        row = [system.date.format(data.getValueAt(i, 0), DATE_FORMAT)]
        for column in range(1, data.getColumnCount()):
            row.append(cell(data.getValueAt(i, column)))
        lines.append(",".join(row))
    return "\n".join(lines) + "\n"


def fileName(day):
    """The file of a day."""
    return "%s/trend_%s.csv" % (FOLDER, system.date.format(day, "yyyyMMdd"))


def exportDay(day):
    """Writes the file of a day; returns the number of rows."""
    start = system.date.midnight(day)
    end = system.date.addDays(start, 1)
    paths, names = exportPaths()
    if not paths:
        LOGGER.warn("no tags are chosen for export")
        return 0
    data = history(paths, names, start, end)
    system.file.writeFile(fileName(start), toCsv(data))
    LOGGER.info("exported %d rows to %s" % (data.getRowCount(), fileName(start)))
    return data.getRowCount()


def deleteOld(now):
    """Deletes files that are older than KEEP_DAYS; returns how many."""
    oldest = system.date.addDays(system.date.midnight(now), -KEEP_DAYS)
    limit = "trend_%s.csv" % system.date.format(oldest, "yyyyMMdd")
    count = 0
    for entry in File(FOLDER).listFiles() or []:
        name = entry.getName()
        if name.startswith("trend_") and name < limit:
            if entry.delete():
                count += 1
    return count


def runDaily():
    """What the gateway's schedule calls."""
    now = system.date.now()
    exportDay(system.date.addDays(now, -1))
    deleteOld(now)
