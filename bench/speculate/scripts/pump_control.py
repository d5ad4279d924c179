"""Two pumps that take turns: which one leads, when the second helps, and hours of each."""

LOGGER = system.util.getLogger("Pumps")
BASE = "[default]Station/Pumps"
PUMPS = ["P1", "P2"]
START_LEVEL = 70.0
HELP_LEVEL = 85.0
STOP_LEVEL = 30.0
MAX_STARTS_PER_HOUR = 6


def read(*names):
    """Values of tags below BASE; None where the quality is bad."""
    paths = ["%s/%s" % (BASE, name) for name in names]
    values = []
    for result in system.tag.readBlocking(paths):
        values.append(result.value if result.quality.isGood() else None)
    return values


def write(name, value):
    """Writes one tag below BASE; whether it was taken."""
    path = "%s/%s" % (BASE, name)
    return system.tag.writeBlocking([path], [value])[0].isGood()


def available(pump):
    """A pump may be started: in automatic, without a fault, and not too often."""
    auto, fault, starts = read(pump + "/Auto", pump + "/Fault", pump + "/StartsThisHour")
    if auto is None or fault is None or starts is None:
        return False
    return auto and not fault and starts < MAX_STARTS_PER_HOUR


def runningPumps():
    """The names of the pumps that run."""
    running = []
    for pump in PUMPS:
        if read(pump + "/Running")[0]:
            running.append(pump)
    return running


def leader():
    """The pump with the fewest hours among those that may be started."""
    best = None
    fewest = None
    for pump in PUMPS:
        hours = read(pump + "/Hours")[0]
        if hours is None or not available(pump):
            continue
        if fewest is None or hours < fewest:
            best = pump
            fewest = hours
    return best


def start(pump):
    """Starts one pump and counts the start."""
    starts = read(pump + "/StartsThisHour")[0] or 0
    if write(pump + "/Command", 1):
        write(pump + "/StartsThisHour", starts + 1)
        LOGGER.info("%s started" % pump)
        return True
    LOGGER.error("%s did not take the start command" % pump)
    return False


def stopAll():
    """Stops every pump that runs."""
    for pump in runningPumps():
        write(pump + "/Command", 0)
        LOGGER.info("%s stopped" % pump)


def control():
    """What the timer calls every second."""
    level = read("Level")[0]
    if level is None:
        LOGGER.warn("the level has no good value; nothing is changed")
        return
    running = runningPumps()
    if level <= STOP_LEVEL:
        stopAll()
    elif level >= HELP_LEVEL and len(running) < len(PUMPS):
        pump = leader()
        if pump is not None and pump not in running:
            start(pump)
    elif level >= START_LEVEL and not running:
        pump = leader()
        if pump is None:
            LOGGER.error("no pump is available at a level of %.1f" % level)
        else:
            start(pump)


def resetStarts():
    """What the schedule calls every hour."""
    for pump in PUMPS:
        write(pump + "/StartsThisHour", 0)
