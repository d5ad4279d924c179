"""Alarms of the last hours: counted by source, by priority, and the ones that chatter."""

PRIORITIES = ["Diagnostic", "Low", "Medium", "High", "Critical"]
CHATTER_COUNT = 10
CHATTER_MINUTES = 60
COLUMNS = ["source", "priority", "count", "active", "longest"]


def queryJournal(hours, minimum="Low"):
    """Events of the journal, newest first."""
    end = system.date.now()
    start = system.date.addHours(end, -hours)
    return system.alarm.queryJournal(
        startDate=start,
        endDate=end,
        journalName="Journal",
        priority=PRIORITIES[PRIORITIES.index(minimum):],
        includeSystem=False,
    )


def sourceName(event):
    """The part of the source path that people know."""
    path = str(event.getSource())
    if ":/alm:" in path:
        path = path.split(":/alm:")[0]
    if ":/tag:" in path:
        path = path.split(":/tag:")[1]
    return path


def eventTime(event):
    """When the event happened, or None for a state that has no time."""
    for state in ["activeData", "clearedData", "ackData"]:
        data = getattr(event, state, None)
        if data is not None:
            return data.timestamp
    return None


def countBySource(events):
    """A dictionary of source: [priority, count, active, longest]."""
    counts = {}
    began = {}
    for event in events:
        source = sourceName(event)
        entry = counts.setdefault(source, [str(event.priority), 0, 0, 0])
        when = eventTime(event)
        if str(event.state).startswith("Active"):
            entry[1] += 1
            entry[2] += 1
            began[source] = when
        elif source in began and when is not None:
            seconds = system.date.secondsBetween(began.pop(source), when)
            entry[2] -= 1
            entry[3] = max(entry[3], seconds)
    return counts


def summary(hours=8):
    """The dataset of the table on the alarm page, the noisiest source first."""
    counts = countBySource(queryJournal(hours))
    rows = []
    for source in counts:
        priority, count, active, longest = counts[source]
        rows.append([source, priority, count, active, longest])
    rows.sort(key=lambda row: row[2], reverse=True)
    return system.dataset.toDataSet(COLUMNS, rows)


def chattering(hours=1):
    """Sources that became active too often within a short time."""
    times = {}
    for event in queryJournal(hours):
        if str(event.state).startswith("Active"):
            times.setdefault(sourceName(event), []).append(eventTime(event))
    noisy = []
    for source in times:
        series = sorted(times[source])
        for i in range(len(series) - CHATTER_COUNT + 1):
            first = series[i]
            last = series[i + CHATTER_COUNT - 1]
            if system.date.minutesBetween(first, last) <= CHATTER_MINUTES:
                noisy.append(source)
                break
    return noisy


def shelveChattering(minutes=30):
    """Shelves what chatters, and returns how many sources that were."""
    paths = chattering()
    if paths:
        system.alarm.shelve(paths, timeoutMinutes=minutes)
    return len(paths)
